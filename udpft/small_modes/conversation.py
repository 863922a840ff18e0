"""Loop of the two small modes: one UDP socket, perhaps lines from standard input, a deadline.

`Conversation.wait` returns what happens first; the commands are plain loops around it. `ask` is
the client's loop, the same for both modes.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from enum import Enum
from math import inf
from types import TracebackType
from typing import Final, NamedTuple, Self

from udpft.errors import PortClosed, TimedOut, UsageError
from udpft.net import pktinfo
from udpft.net.address import Address, Sockaddr, resolve, resolve_all
from udpft.net.clock import clock
from udpft.net.pktinfo import Peer
from udpft.net.udp import wait
from udpft.small_modes.exchange import Asking

MAX_LINE_BYTES = 65_536
"""Bytes of a line of input kept while its end is awaited; a longer one is cut, and refused as
too long for a datagram."""

_MAX_DATAGRAM_BYTES = 65_536


class Datagram(NamedTuple):
    """Event: a datagram arrived, from this address."""

    data: bytes
    source: Sockaddr


class Line(NamedTuple):
    """Event: a line was typed, or read from a pipe; without its newline."""

    text: str


class Signal(Enum):
    """Events without content: the ends of the input and of the peer, and the deadline."""

    END_OF_INPUT = "standard input has ended"
    PORT_CLOSED = "nothing listens on the other side"
    TIME_OUT = "the deadline has come"


class Conversation:
    """Conversation over a UDP socket and, where it is asked for, standard input.

    Args:
        sock: bound, for a server, or connected, for a client; closed with the conversation.
        input_fd: the descriptor that lines are read from; None for none.
    """

    def __init__(self, sock: socket.socket, input_fd: int | None = None) -> None:
        sock.setblocking(False)
        self._sock = sock
        self._is_wildcard = pktinfo.ask_for(sock)
        """Whether sources are named with the address of ours that they have asked."""
        self._others: list[tuple[socket.AddressFamily, Sockaddr]] = []
        """Addresses of the peer's name besides the one in use; fewer after `go_on`."""
        self._input_fd = input_fd
        self._typed = b""
        """Bytes of input that were read and not returned as lines yet."""
        self._input_ended = input_fd is None
        """Whether the input has ended, or there is none."""
        self.heard = False
        """Whether the other end has replied. From then on a closed port is no more than a hint, for
        anybody can say so in its name (RFC 5927): silence decides. `ask` sets it."""
        self._refused = False
        """Whether a `send` has met a closed port that `wait` has not told yet."""

    @classmethod
    def listen(cls, address: Address, input_fd: int | None = None) -> Self:
        """Open a server's end.

        Raises:
            HostNotFound: the address to listen on does not resolve.
            UsageError: the port is taken, or the address is not this machine's.
        """
        family, sockaddr = resolve(address)
        sock = socket.socket(family, socket.SOCK_DGRAM)
        try:
            sock.bind(sockaddr)
        except OSError as error:
            sock.close()
            raise UsageError(
                f"cannot listen on {address}: {error.strerror}",
                hint="choose another --host or --port; does one run there already?",
            ) from None
        return cls(sock, input_fd)

    @classmethod
    def connect(cls, address: Address, input_fd: int | None = None) -> Self:
        """Open a client's end. Connected, the socket hears of a closed port, and of nobody else.

        Raises:
            HostNotFound: the name does not resolve.
            PortClosed: this machine has no way to that address.
        """
        addresses = resolve_all(address)
        while True:
            family, sockaddr = addresses.pop(0)
            sock = socket.socket(family, socket.SOCK_DGRAM)
            try:
                sock.connect(sockaddr)
            except OSError as error:
                sock.close()
                if not addresses:
                    raise PortClosed(f"no way to {address}: {error.strerror}") from None
                continue
            conversation = cls(sock, input_fd)
            conversation._others = addresses
            return conversation

    def go_on(self) -> bool:
        """Go on to the next address of the peer's name; return whether there is one."""
        while self._others:
            family, sockaddr = self._others.pop(0)
            sock = socket.socket(family, socket.SOCK_DGRAM)
            try:
                sock.connect(sockaddr)
            except OSError:
                sock.close()
                continue
            sock.setblocking(False)
            self._sock.close()
            self._sock = sock
            return True
        return False

    @property
    def address(self) -> Address:
        """Local address; the port is the real one where any was asked for."""
        return Address.of(self._sock.getsockname())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        _type: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        self._sock.close()

    def send(self, datagram: bytes, to: Sockaddr | None = None) -> None:
        """Send a datagram. One that this machine will not let out is lost, as on the way.

        The kernel may tell this call that an earlier datagram found the port closed; the next
        `wait` then passes it on.
        """
        try:
            if to is None:
                self._sock.send(datagram)
            elif type(to) is Peer:
                self._sock.sendmsg((datagram,), (to.local,), 0, to.sockaddr)
            else:
                self._sock.sendto(datagram, to)
        except ConnectionRefusedError:
            self._refused = True
        except OSError:
            return

    def wait(self, until: float, *, lines: bool = False) -> Datagram | Line | Signal:
        """Wait for a datagram, a closed port or, if asked, a line of input; at most ``until``."""
        while True:
            if self._refused:
                self._refused = False
                return Signal.PORT_CLOSED
            if lines and (line := self._next_line()) is not None:
                return line
            reading: list[int | socket.socket] = [self._sock]
            if lines and self._input_fd is not None:
                reading.append(self._input_fd)
            ready = wait(reading, [], None if until == inf else until - clock())
            if not ready:
                return Signal.TIME_OUT
            if self._input_fd in ready:
                self._read_input()
            if self._sock in ready and (arrived := self._receive()) is not None:
                return arrived

    def _receive(self) -> Datagram | Signal | None:
        try:
            if not self._is_wildcard:
                return Datagram(*self._sock.recvfrom(_MAX_DATAGRAM_BYTES))
            data, control, _, source = self._sock.recvmsg(
                _MAX_DATAGRAM_BYTES, pktinfo.CONTROL_BYTES
            )
            return Datagram(data, pktinfo.peer_of(source, control))
        except ConnectionRefusedError:
            return Signal.PORT_CLOSED
        except OSError:
            return None  # a checksum that failed, or a router's word that may not last

    def _read_input(self) -> None:
        assert self._input_fd is not None
        try:
            more = os.read(self._input_fd, MAX_LINE_BYTES)
        except OSError:
            more = b""  # the terminal is gone
        self._typed += more
        self._input_ended = not more

    def _next_line(self) -> Line | Signal | None:
        """Take the next line already read; at the end, what follows the last newline too."""
        line, newline, rest = self._typed.partition(b"\n")
        if newline or len(line) >= MAX_LINE_BYTES or (line and self._input_ended):
            self._typed = rest
            return Line(_text(line))
        return Signal.END_OF_INPUT if self._input_ended else None


REFUSED_HINT: Final = "its host says that nothing listens there any more"
"""Hint about a server that had replied, and whose port is said to be closed since."""


def ask(
    conversation: Conversation,
    asking: Asking,
    server: Address,
    *,
    hint: str,
    on_reply: Callable[[], None] = lambda: None,
) -> None:
    """Ask until there is an answer.

    Args:
        conversation: connected to the server.
        asking: the question; holds the answer afterwards.
        server: for the messages of the errors.
        hint: what to try where no server answers.
        on_reply: called after each datagram that has arrived.

    Raises:
        PortClosed: nothing listens at the server's address, and nothing has replied from there.
        TimedOut: no answer in time.
    """
    refused = False
    while not asking.answered:
        if asking.expired(clock()):
            raise _no_answer(asking, server, REFUSED_HINT if refused else hint)
        question = asking.poll_transmit(clock())
        if question is not None:
            conversation.send(question)
        happened = conversation.wait(asking.next_timeout())
        if isinstance(happened, Datagram):
            asking.handle_datagram(happened.data, clock())
            conversation.heard |= asking.heard
            on_reply()
        elif happened is Signal.PORT_CLOSED:
            if conversation.heard:
                refused = True
            elif not conversation.go_on():
                raise PortClosed(f"nothing listens on {server}", hint=hint)


def _no_answer(asking: Asking, server: Address, hint: str) -> TimedOut:
    if asking.heard and hint != REFUSED_HINT:
        hint = "it had asked for patience, and then fell silent"
    elif asking.ignored:
        hint = f"datagrams that were no answer: {asking.ignored}; is it something else's port?"
    times = "once" if asking.asked == 1 else f"{asking.asked} times"
    return TimedOut(f"no answer from {server}, asked {times}", hint=hint)


def _text(line: bytes) -> str:
    """Decode input. Bytes that are no UTF-8 become surrogates, which no message can carry."""
    return line.decode(errors="surrogateescape").removesuffix("\r")
