"""One command line, from its words to its exit code, and what is said of how it ends.

No traceback leaves it but a bug's, with ``-v``.
"""

from __future__ import annotations

import gc
import io
import os
import re
import signal
import sys
import warnings
from collections.abc import Sequence
from types import FrameType
from typing import Any

from udpft.cli.fast_path import read_get
from udpft.cli.output.console import Console, escape, print_aside
from udpft.cli.output.exit_status import BREAKS, Exit, HungUp, Terminated, exit_code_of, notes_of
from udpft.errors import ExitCode, UdpftError


def run(arguments: Sequence[str]) -> int:
    """Run one command line; return its exit code."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
    for number, handler in before.items():
        if number == signal.SIGTERM or handler != signal.SIG_IGN:  # nohup has it ignored
            signal.signal(number, _terminate)
    _never_fail_to_encode()
    shown_before, warnings.showwarning = warnings.showwarning, _show_warning
    try:
        words = read_get(arguments, os.environ)
        if words is not None:
            return _get(words)
        if list(arguments) == ["serve", "--for-shell"]:
            from udpft.remote.far_end import run as be_far_end  # a client waits: without click

            return be_far_end()
        from udpft.cli import app

        return app.run(arguments)
    except Exit as ending:
        return ending.exit_code
    except UdpftError as error:  # of a get; those of `cli.app` leave it as `Exit`
        Console().report(error)
        return error.exit_code
    except BaseException as ending:
        code = exit_code_of(ending)
        if code == ExitCode.BUG and any(re.fullmatch("-v+|--verbose", a) for a in arguments):
            raise
        _explain(ending)
        return code
    finally:
        _flush_output()
        warnings.showwarning = shown_before
        for number, handler in before.items():
            signal.signal(number, handler or signal.SIG_DFL)


def _get(words: dict[str, Any]) -> int:
    """Run a get that was read without click."""
    from udpft.cli.commands.get import fetch

    gc.freeze()  # as `cli.app` does it
    gc.enable()
    try:
        fetch(Console(), **words)
    except KeyboardInterrupt:
        print_aside("")  # behind the terminal's ^C
        raise
    return ExitCode.DONE


def _terminate(signum: int, _frame: FrameType | None) -> None:
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # a second one must not disturb the cleaning up
    raise HungUp if signum == signal.SIGHUP else Terminated


def _explain(ending: BaseException) -> None:
    """Say why the command ends, unless that was said already."""
    if type(ending) in BREAKS:
        print_aside(f"udpft: {BREAKS[type(ending)]}")
        for note in notes_of(ending):
            print_aside(f"hint: {escape(note)}")
    elif exit_code_of(ending) == ExitCode.BUG:
        what = escape(f"{type(ending).__name__}: {ending}")
        print_aside(f"udpft: a bug in udpft: {what}")
        print_aside("hint: run it again as `udpft -v …` for the traceback, and report it")


def _show_warning(message: Warning | str, *_: object, **__: object) -> None:
    """Say a warning of the library in one line, without the place in the code."""
    print_aside(f"udpft: warning: {escape(str(message))}")


def _never_fail_to_encode() -> None:
    """Write what standard output's encoding lacks, such as the µ of µs, as an escape."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def _flush_output() -> None:
    """Empty standard output's buffer, into nothing where nobody takes it.

    Else the interpreter would complain at its end.
    """
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
