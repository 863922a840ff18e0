"""Address validation on the server, before it keeps any state (RFC 9000, 8.1).

See the theory of operation in `initiator`.
"""

from __future__ import annotations

import struct
from hashlib import blake2s
from hmac import compare_digest

from udpft.protocol.keyed.notice import KeyedType, no_key_notice
from udpft.protocol.params import COOKIE_EPOCH_S, MIN_DATAGRAM_SIZE, VERSION
from udpft.protocol.wire.hello import Hello, decode_hello_untrusted
from udpft.protocol.wire.packet import MalformedPacket, PacketType, decode_untrusted
from udpft.protocol.wire.retry import Retry, encode_retry

# Message whose keyed hash a cookie is: HELLO size u16, epoch i64, then the address
_COOKIE_MESSAGE = struct.Struct("<Hq")


class Cookies:
    """Maker and verifier of one server's cookies.

    Args:
        secret: 32 random bytes.
    """

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    def make(self, address: bytes, hello_size: int, now: float) -> bytes:
        """Make the cookie, 16 bytes, that a source gets for its HELLO now."""
        return self._cookie(address, hello_size, int(now // COOKIE_EPOCH_S))

    def check(self, cookie: bytes, address: bytes, hello_size: int, now: float) -> bool:
        """Whether a cookie was made for this source and size, in this epoch or the last."""
        epoch = int(now // COOKIE_EPOCH_S)
        return any(
            compare_digest(cookie, self._cookie(address, hello_size, e)) for e in (epoch, epoch - 1)
        )

    def _cookie(self, address: bytes, hello_size: int, epoch: int) -> bytes:
        message = _COOKIE_MESSAGE.pack(hello_size, epoch) + address
        return blake2s(message, key=self._secret, digest_size=16).digest()


class AddressValidator:
    """Validator of addresses: answers HELLOs by RETRY, and lets those with a valid cookie in.

    Args:
        secret: of the cookies, 32 random bytes.
    """

    def __init__(self, secret: bytes) -> None:
        self._cookies = Cookies(secret)

    def validate_untrusted(
        self, datagram: memoryview, address: bytes, now: float, sealed_size: int = 0
    ) -> bytes | Hello | None:
        """Decide about a datagram that belongs to no session.

        Args:
            datagram: from the network.
            address: the source's address and port, in any unambiguous form.
            now: seconds.
            sealed_size: bytes of the datagram that this one came in, where there is a key.

        Returns:
            A RETRY to send back, or word that this server has no key; or the HELLO of a source
            that is where it says; or None, for silence: garbage, packets of sessions that are
            over, datagrams too short to answer.
        """
        size = sealed_size or len(datagram)
        if size < MIN_DATAGRAM_SIZE or not datagram:
            return None
        if datagram[0] == KeyedType.HELLO and not sealed_size:
            return no_key_notice(datagram)
        if datagram[0] != PacketType.HELLO:
            return None
        try:
            hello = decode_hello_untrusted(decode_untrusted(datagram))
        except MalformedPacket:
            return None
        if self._cookies.check(hello.cookie, address, size, now):
            return hello
        cookie = self._cookies.make(address, size, now)
        retry = Retry(hello.nonce, cookie, size, VERSION, hello.attempt)
        return encode_retry(retry, hello.connection_id)
