"""Sums: two integers, added by two programs, one of which is this page."""

from __future__ import annotations

import secrets
from math import inf
from threading import Thread
from typing import NamedTuple

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from udpft.errors import UdpftError, UsageError
from udpft.net.address import Address, parse_server
from udpft.net.clock import clock
from udpft.protocol.params import CONNECT_TIMEOUT_S
from udpft.small_modes.addition import (
    DEFAULT_PORT,
    HIGHEST,
    LOWEST,
    Adder,
    Addition,
    Sum,
    Term,
)
from udpft.small_modes.conversation import Conversation, Datagram, ask
from udpft.small_modes.exchange import check_name
from udpft.web.forms import Field, checked, read_form, text_in, whole_number
from udpft.web.rendering import Rendering

MAX_KEPT = 20
"""Sums that are shown."""

HINT = "start one there with `udpft add serve`, or write the other number too"

_STOPS = ": any other number stops a server, which `udpft add send` can do"

_OWN_SERVER = "Server of this page"


class Made(NamedTuple):
    """A sum that was made, by which server, and in how many seconds."""

    sum: Sum
    server: Address
    elapsed_s: float


def add(number: int, name: str, server: Address, timeout_s: float = CONNECT_TIMEOUT_S) -> Made:
    """Send an integer to a server; return the sum. Blocks.

    Raises:
        NetworkError: there is no answer.
    """
    own = Term(number, name, secrets.token_hex(4))
    with Conversation.connect(server) as conversation:
        addition = Addition(own, now=clock(), timeout_s=timeout_s)
        ask(conversation, addition, server, hint=HINT)
    assert addition.sum is not None
    return Made(addition.sum, server, addition.elapsed_s)


def add_here(number: int, name: str, other: int) -> Made:
    """Send an integer to a server of its own, on loopback and for this one sum, that has the other.

    Blocks. Raises as `add`.
    """
    with Conversation.listen(Address("127.0.0.1", 0)) as listening:
        server = listening.address
        adder = Adder(_OWN_SERVER, other)
        thread = Thread(target=_serve, args=(adder, listening), name="udpft-web-adder", daemon=True)
        thread.start()
        try:
            return add(number, name, server)
        finally:
            with Conversation.connect(server) as last:  # what is out of range stops it
                last.send(Term(LOWEST - 1, name).encode("add"))
            thread.join()


def _serve(adder: Adder, listening: Conversation) -> None:
    while not adder.stopped_by:
        arrived = listening.wait(inf)
        if isinstance(arrived, Datagram):
            adder.handle_datagram(arrived.data, arrived.source)
        while adder.poll_event():
            pass  # it is shown once, by the client
        while outgoing := adder.poll_transmit():
            listening.send(*outgoing)


class Sums:
    """View of the sums.

    Attributes:
        _rendering: of the page.
        _made: the latest sums, newest first.
    """

    def __init__(self, rendering: Rendering) -> None:
        self._rendering = rendering
        self._made: list[Made] = []

    def routes(self) -> list[Route]:
        """Paths of the view."""
        return [
            Route("/add", self._show, methods=["GET"]),
            Route("/add", self._add, methods=["POST"]),
        ]

    def _page(
        self,
        request: Request,
        fields: dict[str, Field] | None = None,
        error: UdpftError | None = None,
    ) -> Response:
        shown = {"number": Field(), "other": Field(), "name": Field(self._rendering.settings.name)}
        return self._rendering.page(
            request,
            "add.html",
            200 if fields is None else 502 if error else 422,
            made=self._made,
            error=error,
            low=LOWEST,
            high=HIGHEST,
            fields={**shown, **(fields or {})},
        )

    async def _show(self, request: Request) -> Response:
        return self._page(request)

    async def _add(self, request: Request) -> Response:
        form = await read_form(request, self._rendering.access)
        in_range = whole_number(LOWEST, HIGHEST, _STOPS)
        fields: dict[str, Field] = {}
        fields["number"], number = checked(text_in(form, "number"), in_range)
        typed = text_in(form, "other")
        fields["other"], other = checked(typed, in_range) if typed.strip() else (Field(), None)
        fields["name"], name = checked(text_in(form, "name"), check_name)
        if number is None or name is None or fields["other"].error:
            return self._page(request, fields)
        try:
            if other is None:
                server = parse_server(self._rendering.settings.add_server, DEFAULT_PORT)
                made = await run_in_threadpool(add, number, name, server)
            else:
                made = await run_in_threadpool(add_here, number, name, other)
        except UsageError as error:
            return self._page(
                request, {**fields, "number": Field(fields["number"].text, str(error))}
            )
        except UdpftError as error:
            return self._page(request, fields, error)
        self._made = [made, *self._made][:MAX_KEPT]
        return RedirectResponse("/add#sums", 303)
