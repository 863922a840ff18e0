"""Shared keys: the key file of a server and its clients, and the channels made from it.

A key is 32 random bytes, in a file as 64 hexadecimal digits and a newline. It is made, never
thought up: a passphrase in its place could be guessed offline from one recorded HELLO, so there
is no way to give one.
"""

from __future__ import annotations

import os
import stat
from errno import EINVAL, ENOSYS, EOPNOTSUPP
from typing import TYPE_CHECKING

from udpft.errors import LocalReadFailed, LocalWriteFailed, UsageError

if TYPE_CHECKING:
    from pathlib import Path  # a get starts without

    from udpft.protocol.keyed.channel import ClientChannel, KeyedAcceptor
    from udpft.protocol.keyed.noise import Suite

_KEY_BYTES = 32
_MAX_FILE_BYTES = 1024


class Key:
    """Key that is in no file: both ends of one session have it in their memory.

    Args:
        secret: its 32 bytes; drawn anew unless given.

    Attributes:
        secret: its bytes; never change. No text of the object shows them.
    """

    __slots__ = ("secret",)

    def __init__(self, secret: bytes | None = None) -> None:
        self.secret = os.urandom(_KEY_BYTES) if secret is None else secret
        if len(self.secret) != _KEY_BYTES:
            raise UsageError(f"a key has {_KEY_BYTES} bytes")


KeySource = str | os.PathLike[str] | Key
"""Key file, by its name, or a key that is in none."""


def new_key_file(path: Path) -> None:
    """Write a new key to a new file that only its owner may read.

    Raises:
        UsageError: there is a file of that name already.
        LocalWriteFailed: it cannot be written.
    """
    line = f"{os.urandom(_KEY_BYTES).hex()}\n".encode()
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    except FileExistsError:
        raise UsageError(
            f"{path} exists, and a key is never overwritten", hint="name another file"
        ) from None
    except OSError as error:
        raise LocalWriteFailed(f"cannot write {path}: {error.strerror}") from error
    try:
        with open(descriptor, "wb") as file:
            os.fchmod(descriptor, 0o600)  # whatever the umask was
            file.write(line)
            file.flush()
            try:
                os.fsync(descriptor)
            except OSError as error:
                if error.errno not in (EINVAL, ENOSYS, EOPNOTSUPP):  # a file system without syncs
                    raise
    except OSError as error:
        os.unlink(path)
        raise LocalWriteFailed(f"cannot write {path}: {error.strerror}") from error


def read_key_file(path: str | os.PathLike[str]) -> bytes:
    """Read the key in a file. No error ever repeats what the file holds.

    Raises:
        LocalReadFailed: it cannot be read.
        UsageError: what is in it is no key.
    """
    try:
        with open(path, "rb") as file:
            text = file.read(_MAX_FILE_BYTES + 1)
    except OSError as error:
        raise LocalReadFailed(
            f"cannot read the key file {os.fspath(path)}: {error.strerror}",
            hint="`udpft key new FILE` makes one; copy it to both ends",
        ) from None
    digits = text.strip()
    if len(digits) != 2 * _KEY_BYTES or digits.translate(None, b"0123456789abcdefABCDEF"):
        raise UsageError(
            f"there is no key in {os.fspath(path)}: a key is 64 hexadecimal digits",
            hint="`udpft key new FILE` makes one; passphrases will not do",
        )
    key = bytes.fromhex(digits.decode())
    if len(set(key)) == 1:
        raise UsageError(
            f"the key in {os.fspath(path)} is the same byte {_KEY_BYTES} times: easily guessed",
            hint="`udpft key new FILE` makes one; copy it to both ends",
        )
    return key


def readable_by_others(path: str | os.PathLike[str]) -> bool:
    """Whether the file's mode lets others than its owner read it."""
    try:
        return bool(os.stat(path).st_mode & (stat.S_IRGRP | stat.S_IROTH))
    except OSError:
        return False


def _secret_of(source: KeySource) -> bytes:
    """Bytes of a key, read from its file where it has one. Raises as `read_key_file`."""
    return source.secret if isinstance(source, Key) else read_key_file(source)


def client_channel(source: KeySource) -> ClientChannel:
    """Make the client's channel under a key.

    Raises:
        LocalReadFailed: the file cannot be read.
        UsageError: there is no key in it; or the package `cryptography` is missing.
    """
    key = _secret_of(source)
    need_cryptography()
    from udpft.protocol.keyed.channel import ClientChannel

    return ClientChannel(key, fastest_suite(), os.urandom)


def keyed_acceptor(source: KeySource) -> KeyedAcceptor:
    """Make the server's acceptor of keyed handshakes, under a key.

    Raises:
        LocalReadFailed: the file cannot be read.
        UsageError: there is no key in it; or the package `cryptography` is missing.
    """
    key = _secret_of(source)
    need_cryptography()
    from udpft.protocol.keyed.channel import KeyedAcceptor

    return KeyedAcceptor(key, fastest_suite(), os.urandom)


def need_cryptography() -> None:
    """Refuse where the package that keys need is missing. Raises UsageError."""
    try:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        new_enough = hasattr(AESGCM, "encrypt_into")
    except ModuleNotFoundError:
        new_enough = False
    if not new_enough:
        raise UsageError(
            "keys need the package cryptography, version 47 or newer, which is not installed",
            hint="pip install 'cryptography>=47'",
        )


def fastest_suite() -> Suite:
    """Fastest suite of this machine: AES where it has instructions for it, else ChaCha20."""
    from udpft.protocol.keyed.noise import Suite

    try:
        with open("/proc/cpuinfo") as file:
            flags = next((line for line in file if line.startswith(("flags", "Features"))), "")
    except OSError:  # not Linux
        flags = ""
    return Suite.AES_GCM if "aes" in flags.split() else Suite.CHACHA_POLY
