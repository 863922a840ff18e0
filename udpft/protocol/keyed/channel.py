"""Keyed channels of client and server: the sealed handshake, then all other packets sealed.

Theory of operation
-------------------
A channel stands between an end and its socket. What the end sends goes through ``seal``, what
arrives through ``open_untrusted``; to the ends, HELLO, RETRY, ACCEPT and the rest are what they
are without a key. On the wire::

    client                                      server
      HELLO (e, sealed under the key)       ──▶
                                            ◀──  RETRY (sealed under the key and e)   no state
      HELLO (another e; the cookie within)  ──▶
                                            ◀──  ANSWER (e, sealed under the key, e and e): ACCEPT
                                            ◀──▶ SEALED (under the keys that came of it)

HELLO and ANSWER are the two messages of `noise`. Each HELLO has an ephemeral key of its own, also
where it repeats another, for one key encrypts one message. A RETRY is sealed under what the HELLO
told and a random nonce, so that the server keeps no state, and spends no exponentiation, before
it knows that the source is real. ANSWER carries ACCEPT or ERROR.

Whoever cannot seal a HELLO hears nothing at all. Whoever repeats another's HELLO draws a RETRY,
smaller than it by far, and cannot read it.

Layouts, little-endian::

    HELLO    common (8)  e (32)                     ciphertext, tag
    RETRY    common (8)  re (8)  nonce (12)         ciphertext, tag
    ANSWER   common (8)  re (8)  e (32)             ciphertext, tag
    SEALED   see `sealing`

- *common*: type u8, flags u8 = 0, suite u16, connection id u32 = 0. The suite is the one that seals
  this packet; in RETRY the one that the server would like the next HELLO to be sealed with.
- *re*: the first 8 bytes of the e of the HELLO that is answered.
"""

from __future__ import annotations

import struct
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any, Final

from cryptography.exceptions import InvalidTag

from udpft.protocol.contract import Batch, TransferIds, Transmit
from udpft.protocol.keyed.noise import EPHEMERAL_SIZE, TAG_SIZE, Forged, Handshake, Suite
from udpft.protocol.keyed.notice import RE, KeyedType, decode_notice_untrusted
from udpft.protocol.keyed.sealing import Opener, Sealer, SealingBuffers
from udpft.protocol.params import (
    KEYED_ANSWER_OVERHEAD,
    KEYED_HELLO_OVERHEAD,
    KEYED_RETRY_OVERHEAD,
    MIN_DATAGRAM_SIZE,
)
from udpft.protocol.wire.accept import decode_accept_untrusted
from udpft.protocol.wire.packet import (
    MalformedPacket,
    PacketType,
    connection_id_untrusted,
    decode_untrusted,
)

MAX_HELLOS_REMEMBERED: Final = 64
"""HELLOs whose answer a client can read: those of the last eight attempts or more."""

_PROLOGUE: Final = b"udpft keyed 1"
_RETRY_LABEL: Final = b"udpft keyed RETRY"
_RE_SIZE, _NONCE_SIZE = RE.stop - RE.start, 12
_MAX_TRANSFERS = 4  # of one client, one after another; of those before, nothing more is read

# Common: type u8, flags u8, suite u16, connection id u32
_COMMON = struct.Struct("<BBHI")
_RETRY_HEAD = _COMMON.size + _RE_SIZE + _NONCE_SIZE
assert _COMMON.size + EPHEMERAL_SIZE + TAG_SIZE == KEYED_HELLO_OVERHEAD
assert KEYED_ANSWER_OVERHEAD == KEYED_HELLO_OVERHEAD + _RE_SIZE
assert _RETRY_HEAD + TAG_SIZE == KEYED_RETRY_OVERHEAD

DrawBytes = Callable[[int], bytes]
"""Function that draws so many random bytes, which nobody can guess."""


def _common(type_: KeyedType, suite: Suite) -> bytes:
    return _COMMON.pack(type_, 0, suite, 0)


def _suite_untrusted(datagram: bytes, type_: KeyedType) -> Suite:
    """Read the suite of a packet of a type. Raises Forged where it is no such packet."""
    for suite in Suite:
        if datagram.startswith(_common(type_, suite)):
            return suite
    raise Forged("of another type, or of a suite that nobody knows")


def _forget_oldest(known: OrderedDict[Any, Any], most: int) -> None:
    while len(known) > most:
        known.popitem(last=False)


class ClientChannel:
    """Client's end of a keyed conversation: one transfer after another with one server.

    Args:
        key: the key that both ends share, 32 bytes.
        suite: the one that this machine is fastest with.
        draw_bytes: for the ephemeral keys.

    Attributes:
        buffer: packets opened last; the next batch is written over them.
        server_has_no_key: whether a notice said so. Anybody on the path may have sent it in the
            server's name; an ACCEPT takes it back.
    """

    def __init__(self, key: bytes, suite: Suite, draw_bytes: DrawBytes) -> None:
        self._key = key
        self._own_suite = suite
        self._suite = suite
        """Suite of the next HELLO: our own, until a RETRY asks for another."""
        self._draw_bytes = draw_bytes
        self._hellos: OrderedDict[bytes, Handshake] = OrderedDict()
        """Handshakes of HELLOs not answered yet, oldest first, by the bytes that name them."""
        self._sealers: OrderedDict[int, Sealer] = OrderedDict()
        """Sealers of the latest transfers, oldest first, by the server's connection id."""
        self._openers: OrderedDict[int, Opener] = OrderedDict()
        """Openers of the latest transfers, oldest first, by our own connection id."""
        self._out = SealingBuffers.for_sealing()
        self._in = SealingBuffers.for_opening()
        self.buffer = self._in.buffer
        self.server_has_no_key = False

    def seal(self, transmit: Transmit) -> Transmit | None:
        """Seal a burst; None where it is of no transfer that the server has agreed to.

        The result is good until the next call.
        """
        data = transmit.data
        if data[0] == PacketType.HELLO:
            sealed = self._seal_hello(bytes(data))
            return transmit._replace(data=memoryview(sealed), segment_size=len(sealed))
        sealer = self._sealers.get(connection_id_untrusted(data))
        return sealer.seal(transmit) if sealer else None

    def _seal_hello(self, hello: bytes) -> bytes:
        handshake = Handshake(self._suite, self._key, _PROLOGUE)
        message = handshake.write_first(hello, self._draw_bytes(EPHEMERAL_SIZE))
        self._hellos[message[:_RE_SIZE]] = handshake
        _forget_oldest(self._hellos, MAX_HELLOS_REMEMBERED)
        return _common(KeyedType.HELLO, self._suite) + message

    def open_untrusted(self, batch: Batch) -> Iterator[Batch]:
        """Open a batch.

        Yields:
            Packets in our own `buffer`, to be taken in before more are asked for.
        """
        for count, datagram in enumerate(batch.datagrams()):
            if datagram[0] == KeyedType.SEALED:
                # All that follows is too: the kernel may have joined it to the ANSWER.
                rest = batch.after(count) if count else batch
                opener = self._openers.get(connection_id_untrusted(rest.buffer))
                if opener and (opened := opener.open_untrusted(rest)):
                    yield opened
                return
            with suppress(Forged, MalformedPacket):
                packet = self._open_handshake(bytes(datagram))
                self.buffer[: len(packet)] = packet
                yield Batch(self.buffer, len(packet), len(packet), batch.address)

    def _open_handshake(self, datagram: bytes) -> bytes:
        if datagram[0] == KeyedType.RETRY:
            return self._open_retry(datagram)
        if datagram[0] == KeyedType.ANSWER:
            return self._open_answer(datagram)
        self._note_keyless(datagram)
        raise Forged("not sealed")

    def _hello_answered(self, datagram: bytes) -> Handshake:
        handshake = self._hellos.get(datagram[RE])
        if handshake is None:
            raise Forged("the answer to no HELLO of ours")
        return handshake

    def _open_retry(self, datagram: bytes) -> bytes:
        wished = _suite_untrusted(datagram, KeyedType.RETRY)
        handshake = self._hello_answered(datagram)
        head, sealed = datagram[:_RETRY_HEAD], datagram[_RETRY_HEAD:]
        aead = handshake.suite.aead(handshake.side_key(_RETRY_LABEL))
        try:
            packet = aead.decrypt(head[-_NONCE_SIZE:], sealed, head[:-_NONCE_SIZE])
        except (InvalidTag, ValueError):  # or shorter than a nonce
            raise Forged("the tag is wrong") from None
        # AES is the faster one where both ends have it in hardware, and much the slower elsewhere.
        self._suite = max(self._own_suite, wished)
        return packet

    def _open_answer(self, datagram: bytes) -> bytes:
        suite = _suite_untrusted(datagram, KeyedType.ANSWER)
        handshake = self._hello_answered(datagram)
        if suite != handshake.suite:
            raise Forged("another suite than the HELLO's")
        answer = handshake.read_second_untrusted(datagram[_COMMON.size + _RE_SIZE :])
        del self._hellos[datagram[RE]]
        packet = decode_untrusted(memoryview(answer))
        if packet.type is PacketType.ACCEPT:
            accept = decode_accept_untrusted(packet)
            self.server_has_no_key = False
            self._hellos.clear()  # no other one will be answered: their secrets are of no more use
            upward, downward = handshake.split()
            self._sealers[accept.connection_id] = Sealer(
                suite, upward, accept.connection_id, self._out
            )
            self._openers[packet.connection_id] = Opener(
                suite, downward, packet.connection_id, self._in
            )
            _forget_oldest(self._sealers, _MAX_TRANSFERS)
            _forget_oldest(self._openers, _MAX_TRANSFERS)
        return answer

    def _note_keyless(self, datagram: bytes) -> None:
        if decode_notice_untrusted(memoryview(datagram)) in self._hellos and not self._openers:
            self.server_has_no_key = True


class KeyedAcceptor:
    """Server's acceptor of keyed HELLOs, which makes a channel for each.

    Args:
        key: the key that both ends share, 32 bytes.
        suite: the one that this machine is fastest with.
        draw_bytes: for ephemeral keys and nonces.

    Attributes:
        suite: the one that a RETRY asks for.
        draw_bytes: as given; the channels draw from it.
        sealing: buffers that the channels take turns to seal in.
        opening: buffers that the channels take turns to open in.
    """

    def __init__(self, key: bytes, suite: Suite, draw_bytes: DrawBytes) -> None:
        self.suite = suite
        self.draw_bytes = draw_bytes
        self.sealing = SealingBuffers.for_sealing()
        self.opening = SealingBuffers.for_opening()
        # By suite, as far as all handshakes are alike: each begins with a copy
        self._begun = {suite: Handshake(suite, key, _PROLOGUE) for suite in Suite}

    def read_hello_untrusted(self, datagram: memoryview) -> ServerChannel | None:
        """Make the channel that a HELLO asks for; None where it is not from a holder of the key."""
        if len(datagram) < MIN_DATAGRAM_SIZE or datagram[0] != KeyedType.HELLO:
            return None
        message = bytes(datagram)
        try:
            handshake = self._begun[_suite_untrusted(message, KeyedType.HELLO)].copy()
            hello = handshake.read_first_untrusted(message[_COMMON.size :])
        except Forged:
            return None
        return ServerChannel(self, handshake, message[RE], hello)


class ServerChannel:
    """Server's end of a keyed conversation: of one transfer, or of a request for one.

    Args:
        acceptor: has what all channels of a server share.
        handshake: as it stands after the HELLO.
        re: the bytes that name the HELLO in its answer.
        hello: the packet that was sealed in it.
    """

    def __init__(
        self, acceptor: KeyedAcceptor, handshake: Handshake, re: bytes, hello: bytes
    ) -> None:
        self._acceptor = acceptor
        self._handshake: Handshake | None = handshake
        """The handshake; None from `begin` on, so that its secrets are gone."""
        self._re = re
        self.hello = hello
        self._answer = b""
        """Sealed ACCEPT, which is sent as often as it is asked for; set by `begin`."""
        self._sealer: Sealer | None = None
        """Sealer of the transfer; None until `begin`."""
        self._opener: Opener | None = None
        """Opener of the transfer; None until `begin`."""

    def seal_retry(self, retry: bytes) -> bytes:
        """Seal a RETRY."""
        common = _common(KeyedType.RETRY, self._acceptor.suite)
        nonce = self._acceptor.draw_bytes(_NONCE_SIZE)
        assert self._handshake
        aead = self._handshake.suite.aead(self._handshake.side_key(_RETRY_LABEL))
        sealed = aead.encrypt(nonce, retry, common + self._re)
        return common + self._re + nonce + sealed

    def seal_answer(self, answer: bytes) -> bytes:
        """Seal the one answer that this HELLO gets: ACCEPT or ERROR."""
        assert self._handshake
        secret = self._acceptor.draw_bytes(EPHEMERAL_SIZE)
        message = self._handshake.write_second(answer, secret)
        return _common(KeyedType.ANSWER, self._handshake.suite) + self._re + message

    def begin(self, accept: bytes, ids: TransferIds) -> None:
        """Agree to the transfer: ``accept`` is the answer, and what follows is sealed."""
        self._answer = self.seal_answer(accept)
        handshake, self._handshake = self._handshake, None
        assert handshake
        suite = handshake.suite
        upward, downward = handshake.split()
        self._sealer = Sealer(suite, downward, ids.connection_id, self._acceptor.sealing)
        self._opener = Opener(suite, upward, ids.own_connection_id, self._acceptor.opening)

    def seal(self, transmit: Transmit) -> Transmit:
        """Seal a burst of the transfer. ACCEPT, however often, leaves as it did the first time."""
        assert self._sealer
        if transmit.data[0] == PacketType.ACCEPT:
            return Transmit(memoryview(self._answer), len(self._answer))
        return self._sealer.seal(transmit)

    def open_untrusted(self, batch: Batch) -> Batch | None:
        """Open a batch; None where nothing in it is for us, authentic and new."""
        assert self._opener
        return self._opener.open_untrusted(batch)

    @property
    def bytes_sealed(self) -> int:
        """Bytes that left sealed, without those of the handshake."""
        return self._sealer.bytes_sealed if self._sealer else 0
