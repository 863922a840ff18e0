"""End of a command: its exit code, and its verdict in JSON."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from udpft.cli.output.console import print_json
from udpft.errors import ExitCode, UdpftError


class Terminated(BaseException):
    """SIGTERM arrived, as an exception, so that ``finally`` clauses run."""


class HungUp(Terminated):
    """SIGHUP arrived: the terminal is gone."""


BREAKS: dict[type[BaseException], str] = {
    KeyboardInterrupt: "interrupted",
    Terminated: "terminated",
    HungUp: "hung up",
}
"""What breaks a command off from outside, and the word for it."""


class Exit(Exception):
    """The command is over, and all has been said."""

    def __init__(self, exit_code: int) -> None:
        super().__init__(exit_code)
        self.exit_code = exit_code


def exit_code_of(ending: BaseException) -> int:
    """The documented exit code of a command that ends with this exception."""
    if isinstance(ending, (UdpftError, Exit)):
        return ending.exit_code
    if isinstance(ending, KeyboardInterrupt):
        return ExitCode.INTERRUPTED
    if isinstance(ending, HungUp):
        return ExitCode.HUNG_UP
    if isinstance(ending, Terminated):
        return ExitCode.TERMINATED
    if isinstance(ending, (BrokenPipeError, SystemExit)):
        return ExitCode.NO_READER  # of our output, as `head` leaves; click makes it SystemExit
    return ExitCode.BUG


def notes_of(ending: BaseException) -> tuple[str, ...]:
    """Hints on how to go on, as they were noted on the way out."""
    return tuple(getattr(ending, "__notes__", ()))


@contextmanager
def verdict(*, as_json: bool, **fields: Any) -> Iterator[None]:
    """See that a command's last ``--json`` line is its summary, however it ends.

    Args:
        as_json: whether there are such lines at all.
        fields: more to say there; containers may be filled meanwhile.
    """
    code: int = ExitCode.DONE
    try:
        yield
    except BaseException as ending:
        code = exit_code_of(ending)
        if as_json and isinstance(ending, UdpftError):
            print_json("error", message=str(ending), hint=ending.hint, exit_code=int(code))
        raise
    finally:
        if as_json:
            print_json("summary", ok=code == ExitCode.DONE, exit_code=int(code), **fields)
