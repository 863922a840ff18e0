"""Remote shell's process on this side: the far end's request and answer, and its life.

Two threads go beside a session. One collects what the shell says on standard error, for the words
of an error. The other sends the empty lines that tell the far end that this one lives, and notices
when the shell ends: then it stops the transfer at work.
"""

from __future__ import annotations

import os
import re
import select
import subprocess
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from threading import Event, Lock, Thread

from udpft.errors import ShellFailed, UdpftError, VersionMismatch
from udpft.net.stop import Stop
from udpft.remote.messages import HEARTBEAT_S, MAX_LINE_BYTES, Answer, decode_answer_untrusted

_NOTHING_THERE = re.compile(
    r"No module named '?udpft|executable file not found|(command )?not found$|no such file", re.I
)
"""Words of shells and of Python, where udpft is missing."""

_TOO_OLD = re.compile(r"No such option:? '?--for-shell|Missing argument 'DIR'")
"""Words of a udpft that knows no remote shells."""

_NOT_FOUND_CODES = (126, 127)
"""Exit codes of shells and container engines for a command that is not there, or not executable."""

_GRACE_S = 0.3
"""Seconds after its end until a transfer is stopped: a ^C ends both, and is to be said first."""

_CLOSING_S = 3.0
"""Seconds that a shell has to end, once its input is closed."""

_KEPT_LINES = 20


class Shell:
    """Remote shell at work. A context manager; else `close` it.

    Args:
        command: the command line.
        host: for messages.
        say: called, in a thread, with each line that it writes to standard error.

    Attributes:
        stop: set, by a thread, when the shell ends before it was closed.
        host: as ``host``; never changes.
        _process: the shell's.
        _words: the last lines of its standard error. Threads add to it.
        _closing: set when this end wants no more of it.
        _input_lock: held while its input is written to, or closed.
        _listening: thread that collects the words.

    Raises:
        ShellFailed: the command cannot be run.
    """

    def __init__(self, command: Sequence[str], host: str, say: Callable[[str], None]) -> None:
        self.stop = Stop()
        self.host = host
        self._say = say
        self._program = os.path.basename(command[0])
        self._words: deque[str] = deque(maxlen=_KEPT_LINES)
        self._closing = Event()
        self._input_lock = Lock()
        try:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                bufsize=0,
            )
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            raise ShellFailed(
                f"cannot run {command[0]}: {reason}", hint="-e names another remote shell"
            ) from None
        self._listening = Thread(target=self._listen, name="udpft-shell-words", daemon=True)
        self._listening.start()

    def __enter__(self) -> Shell:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def ask(self, request: bytes) -> Answer:
        """Send the request, and read the answer; as long as that takes, for it may ask for words.

        Raises:
            ShellFailed: there is none.
            VersionMismatch: the far end is of another version.
        """
        assert self._process.stdin
        with suppress(BrokenPipeError):  # what ends early may have said why
            rest = memoryview(request)
            while rest:
                rest = rest[os.write(self._process.stdin.fileno(), rest) :]
        answer = self._read_answer()
        if answer is None:
            raise self.failure()
        Thread(target=self._watch, name="udpft-shell", daemon=True).start()
        return answer

    def _read_answer(self) -> Answer | None:
        """Read lines until one is the answer; None where the output ends first."""
        assert self._process.stdout
        unread, seen = b"", 0
        while more := os.read(self._process.stdout.fileno(), 65_536):
            seen += len(more)
            *lines, unread = (unread + more).split(b"\n")
            for line in lines:
                if answer := decode_answer_untrusted(line):
                    return answer
            if seen > 2 * MAX_LINE_BYTES:
                break
        return None

    def _listen(self) -> None:
        assert self._process.stderr
        with suppress(OSError, ValueError):
            for line in self._process.stderr:
                text = line.decode(errors="backslashreplace").rstrip()
                if text:
                    self._words.append(text)
                    self._say(text)

    def _watch(self) -> None:
        """Tell the far end that this one lives, and notice when the shell ends."""
        assert self._process.stdin
        assert self._process.stdout
        given, taken = self._process.stdin.fileno(), self._process.stdout.fileno()
        os.set_blocking(given, False)
        waiting = select.poll()
        waiting.register(taken, select.POLLIN)
        try:
            while not self._closing.is_set():
                if waiting.poll(HEARTBEAT_S * 1_000):
                    if not os.read(taken, 65_536):
                        break
                    continue
                with self._input_lock, suppress(BlockingIOError):
                    if not self._closing.is_set():
                        os.write(given, b"\n")
        except OSError:
            pass  # it has ended
        if not self._closing.wait(_GRACE_S):
            self.stop.set()

    @property
    def has_ended(self) -> bool:
        """Whether the shell has ended though it was not closed."""
        return self.stop.is_set()

    def failure(self, *, midway: bool = False) -> UdpftError:
        """Make the error for the user of a shell that has ended too early, in its own words.

        ``midway``: whether a session was at work.
        """
        self.close(patience_s=1.0 if midway else 10.0)
        self._listening.join(1.0)
        code = self._process.returncode
        words = "\n".join(self._words)
        last = self._words[-1] if self._words else ""
        said = f": {last}" if last else f", exit code {code}"
        if midway:
            return ShellFailed(
                f"{self._program} to {self.host} ended in mid-transfer{said}",
                hint="run the same command again to resume",
            )
        if _TOO_OLD.search(words):
            return VersionMismatch(
                f"the udpft on {self.host} knows no remote shells", hint="upgrade it there"
            )
        if code in _NOT_FOUND_CODES or _NOTHING_THERE.search(last):
            return ShellFailed(
                f"there is no udpft on {self.host}{said}",
                hint="in a clone there: pip install '.[keys]'; or --remote-udpft says what runs it",
            )
        return ShellFailed(
            f"{self._program} to {self.host} failed{said}",
            hint=f"does `{self._program} {self.host} true` work?" if code == 255 else "",
        )

    def close(self, patience_s: float = _CLOSING_S) -> None:
        """Close its input, which ends the far end, and wait for its end. May be called twice."""
        assert self._process.stdin
        self._closing.set()
        with self._input_lock, suppress(OSError):
            self._process.stdin.close()
        try:
            self._process.wait(patience_s)
        except subprocess.TimeoutExpired:
            self._process.terminate()
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(1.0)
