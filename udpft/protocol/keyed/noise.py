"""Noise handshake of keyed transfers: NNpsk0, revision 34 of the Noise protocol framework.

Theory of operation
-------------------
::

    -> psk, e         the client's ephemeral key, and a payload that only holders of the key read
    <- e, ee          the server's; from here on the keys are also of the two ephemeral ones

Both ends know one 32-byte key beforehand, and nothing else of each other. Whoever lacks it can
neither read nor write either message. What follows is encrypted under keys that hang on both
ephemeral keys too, which live as long as the handshake: the key, stolen later, opens no recording
of a transfer. It does open recordings of first messages, so what is in them must not matter much.

Names, and the order of the hashing, are those of the framework's sections 5 and 9. Here are only
the two suites that we use, with X25519 and BLAKE2s, and the one pattern. Where the framework
would draw a random number, it is an argument.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from enum import IntEnum
from hashlib import blake2s
from hmac import digest as hmac_digest
from typing import Final, Literal, Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305

KEY_SIZE: Final = 32
"""Bytes in the key that both ends share, and in each one derived from it."""

EPHEMERAL_SIZE: Final = 32
"""Bytes in an X25519 public key."""

TAG_SIZE: Final = 16
"""Bytes that authentication adds to what is encrypted."""

_PATTERN = "Noise_NNpsk0_25519_{}_BLAKE2s"
_HASH = "blake2s"
_HASH_SIZE = 32


class Forged(Exception):
    """Error: the bytes are not from a holder of the key, or were changed on the way."""


class Aead(Protocol):
    """Authenticated encryption under one key, as `cryptography` has it."""

    def encrypt(self, nonce: bytes, data: bytes, associated_data: bytes | None, /) -> bytes:
        """Encrypt; the result is `TAG_SIZE` longer."""
        ...

    def decrypt(self, nonce: bytes, data: bytes, associated_data: bytes | None, /) -> bytes:
        """Decrypt. Raises InvalidTag."""
        ...

    def encrypt_into(
        self, nonce: memoryview, data: memoryview, associated_data: bytes | None, buf: memoryview, /
    ) -> int:
        """Encrypt into a buffer of just the right length; return that."""
        ...

    def decrypt_into(
        self, nonce: memoryview, data: memoryview, associated_data: bytes | None, buf: memoryview, /
    ) -> int:
        """Decrypt into a buffer of just the right length; return that. Raises InvalidTag."""
        ...


class Suite(IntEnum):
    """Cipher suite, by its number on the wire."""

    AES_GCM = 1
    CHACHA_POLY = 2

    @property
    def protocol_name(self) -> bytes:
        """Noise's name for all that the handshake is made of."""
        name = "AESGCM" if self is Suite.AES_GCM else "ChaChaPoly"
        return _PATTERN.format(name).encode()

    @property
    def byte_order(self) -> Literal["big", "little"]:
        """Byte order of a counter in a nonce (Noise, 12.3 and 12.4)."""
        return "big" if self is Suite.AES_GCM else "little"

    def aead(self, key: bytes) -> Aead:
        """Make the cipher under a key."""
        make: Callable[[bytes], Aead] = AESGCM if self is Suite.AES_GCM else ChaCha20Poly1305
        return make(key)

    def nonce(self, counter: int) -> bytes:
        """Make the nonce of a counter: four bytes of zero, then the counter."""
        return bytes(4) + counter.to_bytes(8, self.byte_order)


def _hkdf(chaining_key: bytes, material: bytes, outputs: int) -> list[bytes]:
    """Noise's HKDF (4.3), that is RFC 5869's with no info but a count."""
    temporary = hmac_digest(chaining_key, material, _HASH)
    derived, last = [], b""
    for i in range(1, outputs + 1):
        last = hmac_digest(temporary, last + bytes([i]), _HASH)
        derived.append(last)
    return derived


class _SymmetricState:
    """SymmetricState of Noise (5.2), together with its CipherState (5.1).

    Attributes:
        suite: the cipher suite.
        hash: of all that was said so far; each message changes it.
        chaining_key: the key that later ones are derived from; each ``mix_key`` changes it.
    """

    def __init__(self, suite: Suite, prologue: bytes) -> None:
        name = suite.protocol_name
        self.suite = suite
        self.hash = name.ljust(_HASH_SIZE, b"\0") if len(name) <= _HASH_SIZE else _hash(name)
        self.chaining_key = self.hash
        self._key = b""
        """Key that encrypts the next payload; each ``mix_key`` changes it."""
        self._counter = 0
        """Payloads encrypted or decrypted under the key, which are its nonces."""
        self.mix_hash(prologue)

    def mix_hash(self, data: bytes) -> None:
        self.hash = _hash(self.hash + data)

    def mix_key(self, material: bytes) -> None:
        self.chaining_key, self._key = _hkdf(self.chaining_key, material, 2)
        self._counter = 0

    def mix_key_and_hash(self, material: bytes) -> None:
        self.chaining_key, hashed, self._key = _hkdf(self.chaining_key, material, 3)
        self.mix_hash(hashed)
        self._counter = 0

    def mix_ephemeral(self, public: bytes) -> None:
        """Token "e"; where there is a psk the key hangs on it too (9.2)."""
        self.mix_hash(public)
        self.mix_key(public)

    def forget_keys(self) -> None:
        """Drop the keys. Python cannot wipe them, but nothing leads to them any more."""
        self.chaining_key = self._key = b""

    def encrypt_and_hash(self, plaintext: bytes) -> bytes:
        sealed = self.suite.aead(self._key).encrypt(
            self.suite.nonce(self._counter), plaintext, self.hash
        )
        self._counter += 1
        self.mix_hash(sealed)
        return sealed

    def decrypt_and_hash(self, sealed: bytes) -> bytes:
        try:
            plaintext = self.suite.aead(self._key).decrypt(
                self.suite.nonce(self._counter), sealed, self.hash
            )
        except InvalidTag:
            raise Forged("the tag is wrong") from None
        self._counter += 1
        self.mix_hash(sealed)
        return plaintext


def _hash(data: bytes) -> bytes:
    return blake2s(data).digest()


class Handshake:
    """Handshake, as one end carries it out.

    The client calls `write_first`, `read_second_untrusted`; the server `read_first_untrusted`,
    `write_second`; then both call `split`.

    Args:
        suite: the cipher suite.
        key: the key that both ends share, 32 bytes.
        prologue: bytes that both ends must agree upon besides.
    """

    def __init__(self, suite: Suite, key: bytes, prologue: bytes) -> None:
        assert len(key) == KEY_SIZE
        self.suite = suite
        self._state = _SymmetricState(suite, prologue)
        self._state.mix_key_and_hash(key)
        self._ephemeral: X25519PrivateKey | None = None
        """Own ephemeral key: from the message that this end writes on, until `split`."""
        self._peer = b""
        """Client's ephemeral public key, on the server; set when its message is read."""

    def copy(self) -> Handshake:
        """Copy the handshake as it stands, to save the hashing of its beginning."""
        twin = copy(self)
        twin._state = copy(self._state)
        return twin

    @property
    def hash(self) -> bytes:
        """Hash of all that was said so far, the same at both ends."""
        return self._state.hash

    def _draw_ephemeral(self, secret: bytes) -> bytes:
        self._ephemeral = X25519PrivateKey.from_private_bytes(secret)
        public = self._ephemeral.public_key().public_bytes_raw()
        self._state.mix_ephemeral(public)
        return public

    def write_first(self, payload: bytes, secret: bytes) -> bytes:
        """Write the client's message. ``secret``: 32 random bytes, for this message alone."""
        return self._draw_ephemeral(secret) + self._state.encrypt_and_hash(payload)

    def read_first_untrusted(self, message: bytes) -> bytes:
        """Read the payload of the client's message. Raises Forged."""
        self._peer, sealed = _cut(message)
        self._state.mix_ephemeral(self._peer)
        return self._state.decrypt_and_hash(sealed)

    def write_second(self, payload: bytes, secret: bytes) -> bytes:
        """Write the server's message. ``secret``: 32 random bytes, for this message alone."""
        public = self._draw_ephemeral(secret)
        assert self._ephemeral
        self._state.mix_key(_shared(self._ephemeral, self._peer))
        return public + self._state.encrypt_and_hash(payload)

    def read_second_untrusted(self, message: bytes) -> bytes:
        """Read the payload of the server's message. Raises Forged, and may then be called again."""
        assert self._ephemeral
        public, sealed = _cut(message)
        state = copy(self._state)
        state.mix_ephemeral(public)
        state.mix_key(_shared(self._ephemeral, public))
        payload = state.decrypt_and_hash(sealed)
        self._state = state
        return payload

    def split(self) -> tuple[bytes, bytes]:
        """Derive the transport keys: from the client to the server, and back (5.2).

        Nothing is kept that they could be derived from again, and nothing can be called after it.
        """
        self._ephemeral = None
        upward, downward = _hkdf(self._state.chaining_key, b"", 2)
        self._state.forget_keys()
        return upward, downward

    def side_key(self, label: bytes) -> bytes:
        """Derive a key from the handshake as it stands, for a purpose that the label names."""
        assert len(label) != EPHEMERAL_SIZE  # or it could be taken for one by `_hkdf`
        return hmac_digest(self._state.chaining_key, label, _HASH)


def _cut(message: bytes) -> tuple[bytes, bytes]:
    if len(message) < EPHEMERAL_SIZE + TAG_SIZE:
        raise Forged("too short")
    return message[:EPHEMERAL_SIZE], message[EPHEMERAL_SIZE:]


def _shared(own: X25519PrivateKey, peer: bytes) -> bytes:
    try:
        return own.exchange(X25519PublicKey.from_public_bytes(peer))
    except ValueError:  # of low order. Its sender has the key, and the secret is its own to spoil
        return bytes(KEY_SIZE)  # (Noise, 12.1)


def next_key(suite: Suite, key: bytes) -> bytes:
    """Derive the key that follows a key (Noise's REKEY, 4.2): there is no way back from it."""
    return suite.aead(key).encrypt(suite.nonce(2**64 - 1), bytes(KEY_SIZE), b"")[:KEY_SIZE]
