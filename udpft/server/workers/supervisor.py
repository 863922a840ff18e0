"""Supervisor: begins the workers of a port, replaces those that die, and tells what they did."""

from __future__ import annotations

import os
import secrets
import signal
import socket
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from functools import partial
from math import inf
from pathlib import Path
from types import TracebackType
from typing import Any, Final, NamedTuple, NoReturn, Protocol, Self

from udpft.errors import UdpftError, UsageError
from udpft.keys import Key, read_key_file
from udpft.net.address import Address
from udpft.net.clock import clock
from udpft.net.udp import wait
from udpft.outcome.served import Refused, Served
from udpft.server.failures import LOGGER
from udpft.server.server import DRAIN_S, bind
from udpft.server.workers.ledger import Ledger
from udpft.server.workers.messages import (
    Channel,
    error_of,
    fields_of_error,
    refused_of,
    served_of,
)
from udpft.server.workers.worker import Common, FailuresTold, serve
from udpft.storage.served_folder import ServedRoot

_SHORT_LIFE_S: Final = 1.0
"""Seconds within which a worker that ends has not really begun."""

_NEXT_LIFE_S: Final = 0.5
"""Seconds after which the one after such a worker begins."""

_MAX_SHORT_LIVES: Final = 20
"""Short lives in a row of all workers, after which the server ends: it does nothing but begin."""

_KILLED_AFTER_S: Final = 2.0
"""Seconds after the drain for which a worker may still be there."""

_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_MAX_TOLD_HOSTS: Final = 100


class Replaced(NamedTuple):
    """Record of a process that has died, and of the one in its place.

    ``worker``: its number, from 1; 0 for the metrics page. ``how``: its end in words.
    """

    worker: int
    process_id: int
    how: str
    successor: int


class Observer(Protocol):
    """Somebody who is told what workers do; nothing of it may raise."""

    def tell(self, served: Served) -> None:
        """Take the record of a transfer."""

    def tell_refused(self, refused: Refused) -> None:
        """Take the record of a refusal."""

    def tell_notice(self, text: str) -> None:
        """Take a line for the log."""

    def tell_silence(self, host: str) -> None:
        """Take a public host that asks and is not answered."""

    def tell_failure(self, text: str, trace: str) -> None:
        """Take an exception that nobody expected."""

    def tell_replaced(self, replaced: Replaced) -> None:
        """Take the record of a process that was replaced."""


class _Process:
    """Process that the supervisor has begun, or is going to begin again.

    Attributes:
        work: the work of it, given its end of the channel.
        channel: this end; None while there is no process.
        process_id: of the process; of the last one while there is none.
        began_at: when it began, by the clock.
        begin_at: when the next one begins; inf while it is there.
        ready: the message by which it said that it serves; None before.
        how: the end of the last one in words; empty for none.
    """

    def __init__(self, work: Callable[[Channel], None]) -> None:
        self.work = work
        self.channel: Channel | None = None
        self.process_id = 0
        self.began_at, self.begin_at = -inf, -inf
        self.ready: dict[str, Any] | None = None
        self.how = ""


class Supervisor:
    """Server of several processes. Made, then `run` until `stop`, then closed.

    Args:
        directory: the folder.
        workers: number of processes that serve.
        observer: is told what they do.
        metrics: address of the metrics page; None for none.
        options: of `Server`; the key file is read once.

    Attributes:
        host: the address that is bound; never changes.
        port: the port that is bound; never changes.
        metrics_address: of the page, as text; empty without one. Set by `begin`.
        is_silent: whether public addresses are met by silence. Set by `begin`.
        _sockets: bound to the port, one for each worker. They stay open as long as this is: that
            keeps the kernel's choice the same.
        _processes: the workers, in order, and the metrics page behind them if there is one.
        _page: the metrics page's; None for none.
        _short_lives: workers that ended as soon as they had begun, since one has lived longer.
        _silent_hosts: public hosts that the observer was told of.
        _stop_at: when workers that are still there are killed, by the clock; inf until `stop`.
        _wake: two ends of a socket that a signal's handler wakes the loop by.

    Raises:
        LocalReadFailed, HostNotFound, UsageError: as of `Server`.
    """

    def __init__(
        self,
        directory: Path,
        workers: int,
        observer: Observer,
        *,
        metrics: Address | None,
        options: dict[str, Any],
    ) -> None:
        if not hasattr(socket, "SO_REUSEPORT") or sys.platform != "linux":
            raise UsageError("--workers needs Linux, which spreads a port over processes")
        self._observer = observer
        options = dict(options)
        host, port = options.pop("host"), options.pop("port")
        if options.get("key_file"):
            options["key_file"] = Key(read_key_file(options["key_file"]))
        with ExitStack() as undo:
            root = ServedRoot(directory, hidden=options["hidden"])
            undo.callback(root.close)
            self._sockets = bind_all(host, port, workers)
            for one in self._sockets:
                undo.callback(one.close)
            self._ledger = Ledger(workers)
            self._undo = undo.pop_all()
        self.host, self.port = self._sockets[0].getsockname()[:2]
        common = Common(root, self._sockets, self._ledger, secrets.token_bytes(32), options)
        self._processes = [_Process(partial(serve, n, common)) for n in range(workers)]
        self._page: _Process | None = None
        if metrics:
            self._page = _Process(partial(_show, metrics, self._sockets, self._ledger))
            self._processes.append(self._page)
        self._short_lives = 0
        self._silent_hosts: set[str] = set()
        self._stop_at = inf
        self._wake = socket.socketpair()
        for end in self._wake:
            end.setblocking(False)
            self._undo.callback(end.close)
        self.metrics_address, self.is_silent = "", False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Kill what is still there, and close the port."""
        for one in self._processes:
            if one.channel:
                os.kill(one.process_id, signal.SIGKILL)
                self._bury(one)
        self._undo.close()
        self._ledger.close()

    def stop(self) -> None:
        """Ask all workers to end when their transfers have. From a signal's handler, too."""
        self._stop_at = min(self._stop_at, clock() + DRAIN_S + _KILLED_AFTER_S)
        with suppress(OSError):
            self._wake[1].send(b"\0")

    @property
    def _stopping(self) -> bool:
        """Whether `stop` was called."""
        return self._stop_at < inf

    # ------------------------------------------------------------------------------- processes

    def begin(self) -> None:
        """Begin all processes, and wait until they serve.

        Raises:
            UdpftError: one of them cannot.
        """
        for one in self._processes:
            self._fork(one)
        for one in self._processes:
            while one.ready is None:
                message = one.channel.receive() if one.channel else None
                if message is None:
                    raise RuntimeError("a worker ended before it served")
                if message["kind"] == "failed":
                    raise error_of(message)
                self._take(one, message)
        self.is_silent = any(one.ready and one.ready.get("silent") for one in self._processes)
        if self._page and self._page.ready:
            self.metrics_address = self._page.ready["address"]

    def _fork(self, one: _Process) -> None:
        """Begin a process. Raises OSError: there is no room for one."""
        ours, theirs = Channel.pair()
        for stream in (sys.stdout, sys.stderr):  # what they hold would be written by both
            if stream:
                with suppress(OSError):
                    stream.flush()
        unblocked = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        try:
            process_id = os.fork()
            if not process_id:
                ours.close()
                self._live(one, theirs)
        except OSError:
            ours.close()
            raise
        finally:
            theirs.close()
            signal.pthread_sigmask(signal.SIG_SETMASK, unblocked)
        one.process_id, one.channel, one.ready = process_id, ours, None
        one.began_at, one.begin_at = clock(), inf
        if one is not self._page:
            self._ledger.note_process(self._processes.index(one), process_id)

    def _live(self, one: _Process, channel: Channel) -> NoReturn:
        """Be a process, just forked, to its end."""
        code = 1
        try:
            for number in _SIGNALS:
                signal.signal(number, signal.SIG_IGN)
            for other in self._processes:
                if other.channel:
                    other.channel.close()
            one.work(channel)
            code = 0
        except UdpftError as error:
            channel.tell("failed", **fields_of_error(error))
        except BaseException as error:
            LOGGER.handlers = [FailuresTold(channel)]
            LOGGER.error("a worker has failed: %r", error, exc_info=error)
        finally:
            os._exit(code)

    def _bury(self, one: _Process) -> None:
        """Take note that a process is gone, and have another one begin unless all are to end."""
        assert one.channel
        one.channel.close()
        one.channel = None
        status = os.waitpid(one.process_id, 0)[1]
        code = os.waitstatus_to_exitcode(status)
        one.how = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
        if one is not self._page:
            self._ledger.clear(self._processes.index(one))
        if self._stopping:
            return
        now = clock()
        is_short = now < one.began_at + _SHORT_LIFE_S
        one.begin_at = now + (_NEXT_LIFE_S if is_short else 0.0)
        self._short_lives = self._short_lives + 1 if is_short else 0

    def _begin_again(self, one: _Process) -> None:
        """Begin a process in the place of one that is gone."""
        before = one.process_id
        try:
            self._fork(one)
        except OSError:  # no room for a process now
            one.begin_at = clock() + _NEXT_LIFE_S
            return
        number = 0 if one is self._page else self._processes.index(one) + 1
        self._observer.tell_replaced(Replaced(number, before, one.how, one.process_id))

    # -------------------------------------------------------------------------------- the loop

    def run(self) -> None:
        """Supervise until `stop` is called and the workers have ended.

        Raises:
            RuntimeError: workers end as soon as they begin, again and again.
        """
        ending = False
        while True:
            if self._stopping and not ending:
                ending = True
                for one in self._workers():
                    one.begin_at = inf
                    if one.channel:
                        one.channel.end()
            if ending and not any(one.channel for one in self._workers()):
                return
            self._take_turn()

    def _workers(self) -> list[_Process]:
        return [one for one in self._processes if one is not self._page]

    def _take_turn(self) -> None:
        """Wait for something to happen, and see to it."""
        of_channel = {one.channel: one for one in self._processes if one.channel}
        until = min(self._stop_at, *(one.begin_at for one in self._processes))
        timeout_s = None if until == inf else until - clock()
        for ready in wait([self._wake[0], *of_channel], [], timeout_s):
            if ready is self._wake[0]:
                ready.recv(64)
                continue
            one = of_channel[ready]
            message = ready.receive()
            if message is None:
                self._bury(one)
            else:
                self._take(one, message)
        now = clock()
        if self._short_lives > _MAX_SHORT_LIVES:
            raise RuntimeError("workers end as soon as they begin")
        for one in self._processes:
            if one.begin_at <= now and not self._stopping:
                self._begin_again(one)
            if one.channel and now >= self._stop_at:
                os.kill(one.process_id, signal.SIGKILL)

    def _take(self, one: _Process, message: dict[str, Any]) -> None:
        """Take in a message of a process."""
        kind = message["kind"]
        if kind == "served":
            self._observer.tell(served_of(message))
            if self._page and self._page.channel:
                self._page.channel.tell(**message)
        elif kind == "refused":
            self._observer.tell_refused(refused_of(message))
        elif kind == "notice":
            self._observer.tell_notice(message["text"])
        elif kind == "silence":
            self._tell_silence(message["host"])
        elif kind == "failure":
            self._observer.tell_failure(message["text"], message["trace"])
        elif kind == "failed":
            self._observer.tell_failure(message["message"], "")
        elif kind == "ready":
            one.ready = message
        else:
            for other in self._workers():
                if other is not one and other.channel:
                    other.channel.tell(wait=False, **message)

    def _tell_silence(self, host: str) -> None:
        """Tell of a public host that is not answered, once whichever worker it asks."""
        if host not in self._silent_hosts and len(self._silent_hosts) < _MAX_TOLD_HOSTS:
            self._silent_hosts.add(host)
            self._observer.tell_silence(host)


def bind_all(host: str, port: int, count: int) -> list[socket.socket]:
    """Bind a number of UDP sockets to one port, which nobody else has. Raises UsageError.

    The first is bound before it shares the port, so that it finds whoever is there. All of them
    belong to one user, and the kernel lets nobody else's in.
    """
    with ExitStack() as undo:
        first = undo.enter_context(bind(host, port))
        first.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sockets = [first]
        for _ in range(count - 1):
            one = undo.enter_context(socket.socket(first.family, socket.SOCK_DGRAM))
            if first.family == socket.AF_INET6:
                one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            one.bind(first.getsockname())
            sockets.append(one)
        undo.pop_all()
        return sockets


def _show(
    address: Address, sockets: Sequence[socket.socket], ledger: Ledger, channel: Channel
) -> None:
    from udpft.server.workers.page import show  # nobody else needs its package

    show(address, sockets, ledger, channel)
