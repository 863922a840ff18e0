"""Conversation: texts that the page has said to a server, with their answers, and all times."""

from __future__ import annotations

import asyncio
import secrets
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime
from threading import Thread
from typing import Literal

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from udpft.errors import ServerBusy, UdpftError
from udpft.net.address import parse_server
from udpft.net.clock import clock
from udpft.protocol.params import CONNECT_TIMEOUT_S
from udpft.small_modes.conversation import Conversation as Socket
from udpft.small_modes.conversation import ask
from udpft.small_modes.exchange import check_name
from udpft.small_modes.messages import DEFAULT_PORT, Delivery, Message, Word, check_text
from udpft.web.forms import Field, checked, read_form, text_in
from udpft.web.live import Live, Piece
from udpft.web.rendering import Rendering
from udpft.web.transfers import words_of_a_bug

MAX_KEPT = 200
"""Texts that are shown."""

MAX_WAITING = 16
"""Texts that wait for an answer, each in a thread: a person may be typing it."""

WAIT_S = 2.0
"""Seconds in which an answer is on the page that follows; a later one comes by itself."""

HINT = "start one there with `udpft message serve`"


def wall_clock() -> datetime:
    """This machine's time, with its zone."""
    return datetime.now().astimezone()


class Said:
    """One text that was said, and what came of it.

    Attributes:
        at: when it was said, by this machine's clock.
        message: what was sent.
        server: where to, in words.
        state: ``waiting`` until there is an answer, or none will come.
        typing: the server's name, once it has said that somebody types; empty until then.
        answer: the server's; None until it has come.
        answered_at: when, by this machine's clock.
        round_trip_s: seconds between the two; None where it is not known.
        error: why there is none.
    """

    def __init__(self, at: datetime, message: Message, server: str) -> None:
        self.at = at
        self.message = message
        self.server = server
        self.state: Literal["waiting", "answered", "failed"] = "waiting"
        self.typing = ""
        self.answer: Message | None = None
        self.answered_at: datetime | None = None
        self.round_trip_s: float | None = None
        self.error: UdpftError | None = None

    def deliver(self, timeout_s: float, changed: Callable[[], None]) -> None:
        """Send it until it is answered. Blocks; in a thread of its own.

        Args:
            timeout_s: after which a silent server is given up.
            changed: called when something of it has changed.
        """
        delivery = Delivery(self.message, now=clock(), timeout_s=timeout_s)

        def told() -> None:
            if delivery.waiting_for is not None and not self.typing:
                self.typing = delivery.waiting_for or self.server
                changed()

        try:
            address = parse_server(self.server, DEFAULT_PORT)
            with Socket.connect(address) as socket:
                ask(socket, delivery, address, hint=HINT, on_reply=told)
        except UdpftError as error:
            self.error, self.state = error, "failed"
        except Exception as error:
            self.error, self.state = words_of_a_bug(error), "failed"
        else:
            self.answer, self.answered_at = delivery.answer, wall_clock()
            self.round_trip_s = delivery.round_trip_s
            self.state = "answered"
        changed()


class Talk:
    """View of the conversation. Used in the loop's thread.

    Attributes:
        _rendering: of the page.
        _live: is told of answers.
        _said: the latest texts, oldest first.
        _version: grows with each text and each answer.
    """

    def __init__(self, rendering: Rendering, live: Live) -> None:
        self._rendering = rendering
        self._live = live
        self._said: deque[Said] = deque(maxlen=MAX_KEPT)
        self._version = 0
        live.add("message", self.pieces)

    def routes(self) -> list[Route]:
        """Paths of the view."""
        return [
            Route("/message", self._show, methods=["GET"]),
            Route("/message", self._say, methods=["POST"]),
        ]

    def pieces(self) -> Sequence[Piece]:
        """What changes by itself: the whole conversation."""
        said = list(self._said)
        return [
            Piece(
                "conversation",
                self._version,
                lambda: self._rendering.fragment("conversation.html", said=said),
            )
        ]

    @property
    def _waiting(self) -> int:
        return sum(one.state == "waiting" for one in self._said)

    def _page(self, request: Request, fields: dict[str, Field] | None = None) -> Response:
        shown = {"text": Field(), "name": Field(self._rendering.settings.name)}
        return self._rendering.page(
            request,
            "message.html",
            422 if fields else 200,
            said=list(self._said),
            fields={**shown, **(fields or {})},
            live="message",
            moving="latest" if self._waiting else "",
        )

    async def _show(self, request: Request) -> Response:
        return self._page(request)

    async def _say(self, request: Request) -> Response:
        form = await read_form(request, self._rendering.access)
        fields: dict[str, Field] = {}
        fields["text"], text = checked(text_in(form, "text").strip(), check_text)
        fields["name"], name = checked(text_in(form, "name"), check_name)
        if text is not None and self._waiting >= MAX_WAITING:
            busy = ServerBusy(f"{MAX_WAITING} texts wait for an answer; this one was not sent")
            fields["text"], text = Field(text, str(busy)), None
        if text is None or name is None:
            return self._page(request, fields)
        at = wall_clock()
        message = Message(Word.SAY, text, name, at, secrets.token_hex(4))
        said = Said(at, message, self._rendering.settings.message_server)
        self._said.append(said)
        ended = asyncio.Event()
        self._start(said, ended)
        with suppress(TimeoutError):
            await asyncio.wait_for(ended.wait(), WAIT_S)
        return RedirectResponse("/message#latest", 303)

    def _start(self, said: Said, ended: asyncio.Event) -> None:
        loop = asyncio.get_running_loop()

        def told() -> None:
            self._version += 1
            if said.state != "waiting":
                ended.set()
            self._live.changed()

        def changed() -> None:
            with suppress(RuntimeError):  # the loop is closed
                loop.call_soon_threadsafe(told)

        Thread(
            target=said.deliver,
            args=(CONNECT_TIMEOUT_S, changed),
            name="udpft-web-message",
            daemon=True,
        ).start()
        told()
