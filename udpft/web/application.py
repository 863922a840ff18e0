"""Application of the page: its views under their paths, and what is said of errors."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from udpft.errors import (
    Denied,
    LocalWriteFailed,
    ServerBusy,
    TooLarge,
    UdpftError,
)
from udpft.web.access import START, Access, Guard
from udpft.web.conversation import Talk
from udpft.web.files import Files
from udpft.web.live import Live
from udpft.web.measuring import Bench
from udpft.web.rendering import Rendering, asset
from udpft.web.reports import Reports
from udpft.web.settings import Settings
from udpft.web.sums import Sums
from udpft.web.transfers import Transfers, words_of_a_bug

_ASSETS = {"page.css": "text/css", "page.js": "text/javascript", "icon.svg": "image/svg+xml"}

_STATUS: dict[type[UdpftError], int] = {
    Denied: 403,
    TooLarge: 413,
    ServerBusy: 503,
    LocalWriteFailed: 507,
}

_OF_HTTP = {
    400: "the browser's words make no sense",
    404: "there is no such page",
    405: "there is no such page",
    503: "too many pages are open",
}


def application(
    settings: Settings, access: Access, ending: Callable[[], bool] = lambda: False
) -> ASGIApp:
    """Make the application.

    Args:
        settings: of the page.
        access: who may use it.
        ending: whether the server is about to end.
    """
    rendering = Rendering(settings, access)
    live = Live()
    live.ending = ending
    transfers, bench = Transfers(rendering, live), Bench(rendering, live)
    views = (
        Files(rendering, transfers),
        Sums(rendering),
        Talk(rendering, live),
        transfers,
        bench,
        Reports(rendering, bench),
        live,
    )

    async def start(_: Request) -> Response:
        return RedirectResponse(START, 303)

    async def send_asset(request: Request) -> Response:
        kind = _ASSETS.get(name := request.path_params["name"])
        if kind is None:
            raise HTTPException(404)
        return Response(asset(name), media_type=kind)

    def failed(request: Request, error: UdpftError, status: int) -> Response:
        return rendering.page(request, "error.html", status, error=error)

    async def refused(request: Request, error: Exception) -> Response:
        assert isinstance(error, UdpftError)
        status = next((_STATUS[one] for one in type(error).mro() if one in _STATUS), 500)
        return failed(request, error, status)

    async def no_page(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        words = _OF_HTTP.get(error.status_code, "this cannot be done")
        return failed(request, UdpftError(words), error.status_code)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        yield
        transfers.close()
        bench.close()

    async def broken(request: Request, error: Exception) -> Response:
        return failed(request, words_of_a_bug(error), 500)

    routes = [Route("/", start), Route("/assets/{name}", send_asset)]
    routes += [route for view in views for route in view.routes()]
    app = Starlette(
        routes=routes,
        exception_handlers={UdpftError: refused, HTTPException: no_page, Exception: broken},
        lifespan=lifespan,
    )
    return Guard(app, access)
