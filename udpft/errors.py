"""Exceptions of udpft, by whose fault they are, with their exit codes.

::

    UdpftError                      .exit_code  .hint
    ├── UsageError            2     the caller's words are off
    ├── LocalError                  this machine
    │   ├── DestinationExists 13    a different file has that name, and no --force
    │   ├── LocalWriteFailed  23    disk full, quota, read-only, no permission
    │   └── LocalReadFailed   26    a local source cannot be read
    ├── ServerRefused               the server said no, and why
    │   ├── VersionMismatch    8    not udpft there, or another version
    │   ├── Denied             9    the server's rules forbid it
    │   ├── UploadRefused     25    the server takes no uploads
    │   ├── RangeNotThere     36    the file ends before the range that was asked for
    │   ├── ServerBusy        75    no room now; try again later
    │   ├── NoSuchFile        78    no such file on the server
    │   └── SourceChanged     18    the source changed while it was sent
    ├── NetworkError                the path between
    │   ├── HostNotFound       6    the name does not resolve
    │   ├── PortClosed         7    a host, but nothing listens there
    │   ├── PartialTransfer   18    some of the file came, not its end
    │   └── TimedOut          28    no answer, or stalled, within the timeout
    ├── DigestMismatch        32    everything came, and it is not the file
    ├── TooLarge              63    larger than --max-size
    ├── KeyRejected           67    key missing or wrong
    ├── ShellFailed           79    the remote shell failed, or what it was to run
    └── Stopped              130    the caller wanted no more of it

Exit codes follow curl's where curl has one. Every error is one line that names the cause and,
where there is one, a hint that says what to do about it. An exception outside this tree is a
bug, and exits with 1.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Any


class ExitCode(IntEnum):
    """Documented exit codes of the ``udpft`` command."""

    DONE = 0
    BUG = 1
    USAGE = 2
    HOST_NOT_FOUND = 6
    PORT_CLOSED = 7
    VERSION = 8
    DENIED = 9
    EXISTS = 13
    PARTIAL = 18
    WRITE_FAILED = 23
    UPLOAD_REFUSED = 25
    READ_FAILED = 26
    TIMED_OUT = 28
    DIGEST_MISMATCH = 32
    RANGE_NOT_THERE = 36
    TOO_LARGE = 63
    KEY_REJECTED = 67
    BUSY = 75
    NO_SUCH_FILE = 78
    SHELL_FAILED = 79
    HUNG_UP = 129
    INTERRUPTED = 130
    NO_READER = 141
    TERMINATED = 143


class UdpftError(Exception):
    """Base of all errors of udpft, refusals and failures.

    Attributes:
        exit_code: of the command that this error ends; each class has its own.
        hint: what to try; empty where nothing is known to help.
        result: `udpft.Result` of what has come of a tree, where not all of it has; else None.
    """

    exit_code: ExitCode = ExitCode.BUG
    result: Any = None

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class UsageError(UdpftError):
    """The caller asked for something that makes no sense."""

    exit_code = ExitCode.USAGE


class LocalError(UdpftError):
    """This machine's fault: its disk, its permissions, its files."""


class DestinationExists(LocalError):
    """A different file already has the destination's name, and overwriting was not asked for."""

    exit_code = ExitCode.EXISTS


class LocalWriteFailed(LocalError):
    """The destination cannot be written: disk full, quota, read-only, no permission."""

    exit_code = ExitCode.WRITE_FAILED


class LocalReadFailed(LocalError):
    """A local file or folder cannot be read."""

    exit_code = ExitCode.READ_FAILED


class ServerRefused(UdpftError):
    """The server understood the request and said no."""


class VersionMismatch(ServerRefused):
    """The answer is not from udpft, or from another version of the protocol."""

    exit_code = ExitCode.VERSION


class Denied(ServerRefused):
    """The server's rules forbid it."""

    exit_code = ExitCode.DENIED


class UploadRefused(ServerRefused):
    """The server takes no uploads."""

    exit_code = ExitCode.UPLOAD_REFUSED


class ServerBusy(ServerRefused):
    """The server has no room for another transfer now. ``retry_after_s``: when it may have."""

    exit_code = ExitCode.BUSY
    retry_after_s: float = 1.0


class NoSuchFile(ServerRefused):
    """The server has no such file, or none that it would serve."""

    exit_code = ExitCode.NO_SUCH_FILE


class RangeNotThere(ServerRefused):
    """The file has nothing of the range that was asked for: it ends before.

    The exit code is the one that curl has for that over FTP and of local files; its 33 says that
    a server knows no ranges at all.
    """

    exit_code = ExitCode.RANGE_NOT_THERE


class SourceChanged(ServerRefused):
    """The file changed on the server while it was being sent; what came is no version of it."""

    exit_code = ExitCode.PARTIAL

    @classmethod
    def under_way(cls, how: str) -> SourceChanged:
        """Say how the file changed while it was sent: what it did, in the past tense."""
        hint = "try again when nothing writes to it"
        return cls(f"the file {how} while it was sent", hint=hint)


class NetworkError(UdpftError):
    """Errors of the path between the two ends."""


class HostNotFound(NetworkError):
    """The host's name does not resolve to an address."""

    exit_code = ExitCode.HOST_NOT_FOUND


class PortClosed(NetworkError):
    """Nothing listens on that port of the host."""

    exit_code = ExitCode.PORT_CLOSED


class PartialTransfer(NetworkError):
    """Some of the file came, and not its end."""

    exit_code = ExitCode.PARTIAL


class TimedOut(NetworkError):
    """No answer, or no progress, within the timeout."""

    exit_code = ExitCode.TIMED_OUT


class DigestMismatch(UdpftError):
    """Everything arrived, and its digest is not the one that the sender computed."""

    exit_code = ExitCode.DIGEST_MISMATCH


class TooLarge(UdpftError):
    """What the server has is larger than was asked for at most; nothing of it is kept."""

    exit_code = ExitCode.TOO_LARGE


class KeyRejected(UdpftError):
    """A key is needed and missing, or is not the server's."""

    exit_code = ExitCode.KEY_REJECTED


class ShellFailed(UdpftError):
    """The remote shell failed, ended too early, or found no udpft over there."""

    exit_code = ExitCode.SHELL_FAILED


class Stopped(UdpftError):
    """The caller stopped it through a `udpft.Stop`, before the end was reached."""

    exit_code = ExitCode.INTERRUPTED
