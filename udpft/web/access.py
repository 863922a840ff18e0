"""Access to the page: who may see it, and whose forms it takes.

A page on this machine can be reached by every program here, and by every page of every site that
this machine's browser shows. Against these:

- **Token.** It is in the URL that is printed, and is exchanged for a cookie, which scripts cannot
  read (HttpOnly) and other sites' pages do not send (SameSite=Strict). Without either there is
  nothing to be seen.
- **Host.** A name that leads here by its owner's will (DNS rebinding) is none of ours: requests
  must be for an address, or for a name of this machine.
- **Origin.** Cookies do not tell ports apart. So what changes anything must come from this very
  origin, by the browser's word, and with a number that only our own forms have.
- **Content-Security-Policy.** Nothing but our own style and script, in no other page's frame.
"""

from __future__ import annotations

import ipaddress
import secrets
import socket
from http.cookies import CookieError, SimpleCookie
from typing import Final
from urllib.parse import parse_qs, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

START: Final = "/files"
"""The page that the token leads to."""

POLICY: Final = (
    "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
"""Content-Security-Policy of all pages that bring none of their own."""

_HEADERS: Final = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    # With no-referrer, browsers would not say where a form of our own comes from.
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}

_CLOSED: Final = "Open the URL that was printed when this page was started.\n"

_OPENED: Final = f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>udpft</title>
<link rel="icon" href="/assets/icon.svg">
<meta http-equiv="refresh" content="0; url={START}"></head>
<body><p><a href="{START}">Go on</a></p></body></html>
"""
"""Not a redirection: a browser that came from elsewhere would follow it without the cookie."""

_SAFE = ("GET", "HEAD")


class Access:
    """Secrets of one page, made anew each time that it is started, and the rules of who is in.

    Args:
        host: the address that it listens on.
        port: its TCP port.

    Attributes:
        token: what the URL has; never changes, as all of these.
        form_token: what our own forms have.
        _session: the cookie's value, of whoever had the token.
        _cookie: the cookie's name. It has the port, because cookies of a host are all its ports'.
        _names: names of this machine that may be asked for, in lower case.
        _any_address: whether every address may be asked for, and not only loopback's.
    """

    def __init__(self, host: str, port: int) -> None:
        self.token = secrets.token_urlsafe(32)
        self.form_token = secrets.token_urlsafe(32)
        self._session = secrets.token_urlsafe(32)
        self._cookie = f"udpft_{port}"
        self._any_address = not is_loopback(host)
        self._names = {"localhost", host.lower()}
        if self._any_address:
            self._names.add(socket.gethostname().lower())

    def refusal(self, method: str, headers: Headers) -> str:
        """Say why a request is refused, whoever makes it; empty where it is not."""
        if not self._is_ours(headers.get("host", "")):
            return "another host's name"
        if method not in _SAFE and not _from_own_origin(headers):
            return "another page's request"
        if method in _SAFE and _is_part_of_another_page(headers):
            return "another page's part"
        return ""

    def has_cookie(self, headers: Headers) -> bool:
        """Whether a request comes from a browser that had the token."""
        try:
            cookies = SimpleCookie(headers.get("cookie", ""))
        except CookieError:
            return False
        value = cookies[self._cookie].value if self._cookie in cookies else ""
        return secrets.compare_digest(value.encode(), self._session.encode())

    def has_token(self, query: bytes) -> bool:
        """Whether a request's URL has the token."""
        given = parse_qs(query.decode("latin-1")).get("token", [""])[0]
        return secrets.compare_digest(given.encode(), self.token.encode())

    def is_own_form(self, form_token: str) -> bool:
        """Whether a form is one of ours, by its hidden field."""
        return secrets.compare_digest(form_token.encode(), self.form_token.encode())

    def opened(self) -> Response:
        """Answer to the token: the cookie, and the way on."""
        answer = HTMLResponse(_OPENED)
        answer.set_cookie(self._cookie, self._session, path="/", httponly=True, samesite="strict")
        return answer

    def _is_ours(self, host: str) -> bool:
        try:
            name = urlsplit(f"//{host}").hostname or ""
        except ValueError:
            return False
        try:
            address = ipaddress.ip_address(name)
        except ValueError:
            return name in self._names
        # Who names an address was led here by no name.
        return self._any_address or bool(address.is_loopback) or name in self._names


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches an address that is listened on."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _from_own_origin(headers: Headers) -> bool:
    """Whether a browser says that a request comes from a page of ours."""
    site: str | None = headers.get("sec-fetch-site")
    if site not in (None, "same-origin"):
        return False
    origin = headers.get("origin")
    if origin is None:
        return site == "same-origin"
    scheme, _, rest = origin.partition("://")
    return scheme in ("http", "https") and rest == headers.get("host", "")


def _is_part_of_another_page(headers: Headers) -> bool:
    """Whether a browser says that another origin's page asks for something to use, as a picture.

    It could not read it; so it is spared even to know that it is there.
    """
    site, mode = headers.get("sec-fetch-site"), headers.get("sec-fetch-mode")
    return site in ("same-site", "cross-site") and mode != "navigate"


class Guard:
    """ASGI application around another one, which only those who may reach.

    Args:
        app: the other one.
        access: who may.
    """

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self._app = app
        self._access = access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or hand it on."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
            return

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        await self._answer(scope)(scope, receive, send_guarded)

    def _answer(self, scope: Scope) -> ASGIApp:
        headers = Headers(scope=scope)
        if self._access.refusal(scope["method"], headers):
            return PlainTextResponse(_CLOSED, 403)
        if scope["method"] in _SAFE and self._access.has_token(scope["query_string"]):
            return self._access.opened()
        if not self._access.has_cookie(headers):
            return PlainTextResponse(_CLOSED, 403)
        return self._app
