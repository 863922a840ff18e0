"""Live parts of the page: pieces of HTML, sent again when they change, as server-sent events.

A *topic* is what one page shows; each of its pieces has a version, and is sent where that is
another one than was sent last. The script puts each in place of what has its id.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Hashable, Sequence
from typing import NamedTuple

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

MAX_LISTENERS = 32
"""Connections that are told of changes; a browser keeps one for each open page."""

INTERVAL_S = 0.2
"""Seconds between two looks at what has changed, while something does."""

_LOOK_S = 0.5
"""Seconds after which it is seen that the server ends."""

_QUIET_LOOKS = 30
"""Looks without a word after which a comment is sent, which finds out who has gone."""


class Piece(NamedTuple):
    """Piece of a page: the id of its element, its version, and the function that makes its HTML."""

    id: str
    version: Hashable
    html: Callable[[], str]


Topic = Callable[[], Sequence[Piece]]


class Live:
    """Topics, and the connections that are told of them. Used in the loop's thread only.

    Attributes:
        ending: whether the server is about to end; set once.
        _topics: by name.
        _listeners: an event for each connection, set when something has changed.
    """

    def __init__(self) -> None:
        self.ending: Callable[[], bool] = lambda: False
        self._topics: dict[str, Topic] = {}
        self._listeners: set[asyncio.Event] = set()

    def add(self, name: str, topic: Topic) -> None:
        """Add a topic."""
        self._topics[name] = topic

    def changed(self) -> None:
        """Say that something may have changed."""
        for listener in self._listeners:
            listener.set()

    def routes(self) -> list[Route]:
        """Where the script listens."""
        return [Route("/live/{topic}", self._listen)]

    async def _listen(self, request: Request) -> Response:
        topic = self._topics.get(request.path_params["topic"])
        if topic is None:
            raise HTTPException(404)
        if len(self._listeners) >= MAX_LISTENERS:
            raise HTTPException(503)
        return StreamingResponse(self.events(topic), media_type="text/event-stream")

    async def events(self, topic: Topic) -> AsyncIterator[str]:
        """What a connection is sent."""
        changed = asyncio.Event()
        changed.set()
        self._listeners.add(changed)
        sent: dict[str, Hashable] = {}
        quiet = 0
        try:
            while not self.ending():
                if changed.is_set():
                    changed.clear()
                    for piece in topic():
                        if sent.get(piece.id, self) != piece.version:
                            sent[piece.id] = piece.version
                            yield _event(piece)
                    quiet = 0
                    await asyncio.sleep(INTERVAL_S)
                elif quiet == _QUIET_LOOKS:
                    quiet = 0
                    yield ": still here\n\n"
                try:
                    await asyncio.wait_for(changed.wait(), _LOOK_S)
                except TimeoutError:
                    quiet += 1
        finally:
            self._listeners.discard(changed)


def _event(piece: Piece) -> str:
    return f"data: {json.dumps({'id': piece.id, 'html': piece.html()})}\n\n"
