"""Rendering of the page: templates, and values in the words of the command line."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from importlib.resources import files
from typing import Any

from jinja2 import Environment, FunctionLoader, StrictUndefined
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from udpft.errors import UdpftError
from udpft.units import format_bytes, format_rate, format_seconds
from udpft.web.access import Access
from udpft.web.forms import encoded
from udpft.web.settings import Settings

PAGES = {
    "/files": "Files",
    "/add": "Add",
    "/message": "Message",
    "/transfers": "Transfers",
    "/bench": "Bench",
    "/reports": "Reports",
}
"""Path to the name of each page, in the order of the menu."""


_AGAIN = "&again=1"


def asset(name: str) -> str:
    """Text of a file that belongs to the page."""
    return (files("udpft.web") / "assets" / name).read_text(encoding="utf-8")


def printable(text: str) -> str:
    r"""Make text from a network safe to show: control, bidi and the like as ``\x1b``.

    HTML is escaped by the templates, all of them.
    """
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in text
    )


def sentence(error: UdpftError | str) -> str:
    """Words of an error as a sentence has them."""
    words = printable(str(error))
    return words[:1].upper() + words[1:]


def clock_time(time: datetime) -> str:
    """Time with milliseconds and zone, as the transcript of the command has it."""
    return time.isoformat(timespec="milliseconds")


def date_of(mtime_ns: int) -> str:
    """Date and time of a file, in this machine's zone; empty where there is none to be had."""
    try:
        return datetime.fromtimestamp(mtime_ns // 10**9).strftime("%Y-%m-%d %H:%M")
    except (ValueError, OverflowError, OSError):
        return ""


class Rendering:
    """Templates of the page, with what all of them share.

    Args:
        settings: of the page.
        access: has what our forms need.

    Attributes:
        settings: as given.
        access: as given.
        _environment: of the templates; escapes everything.
    """

    def __init__(self, settings: Settings, access: Access) -> None:
        self.settings = settings
        self.access = access
        self._environment = Environment(
            loader=FunctionLoader(asset),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._environment.filters |= {
            "printable": printable,
            "sentence": sentence,
            "encoded": encoded,
            "size": format_bytes,
            "rate": format_rate,
            "seconds": format_seconds,
            "clock": clock_time,
            "date": date_of,
        }
        self._environment.globals |= {
            "pages": PAGES,
            "settings": settings,
            "form_token": access.form_token,
        }

    def fragment(self, template: str, **values: Any) -> str:
        """Render a part of a page."""
        return self._environment.get_template(template).render(**values)

    def page(
        self, request: Request, template: str, status: int = 200, moving: str = "", **values: Any
    ) -> Response:
        """Render a page that answers a request.

        Args:
            request: that is answered.
            template: of the page.
            status: of the answer.
            moving: the element in which something changes by itself, empty where nothing does:
                without a script, the page reloads itself.
            values: for the template.
        """
        reloads = _again(request, moving) if moving and request.method == "GET" else ""
        shared: Mapping[str, Any] = {"path": request.url.path, "reloads": reloads, "live": ""}
        return HTMLResponse(self.fragment(template, **{**shared, **values}), status)


def _again(request: Request, element: str) -> str:
    """URL of the same page, as a browser goes to it: another one, or it would only scroll."""
    query: str = request.scope["query_string"].decode("latin-1")
    before = query.removesuffix(_AGAIN)
    other = before if before != query else f"{query}{_AGAIN}"
    return f"{request.url.path}?{other}#{element}"
