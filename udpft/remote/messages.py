"""Messages over a remote shell: one JSON line there, with the key, and one back.

The client's line is a `Request`, the far end's an `Answer` or the error that kept it from one. Both
begin with the version. After them nothing but empty lines goes to the far end, which tell it that
the client lives, and nothing comes back.
"""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Callable
from typing import Any, Literal, NamedTuple, TypeVar

from udpft.errors import ShellFailed, UdpftError, UsageError, VersionMismatch
from udpft.keys import Key
from udpft.net.address import MAX_PORT

VERSION = 1
"""Version of these messages and of the protocol behind them. Other ones are refused."""

MAX_LINE_BYTES = 16 << 20
"""Bytes of a message: the paths of a long command line, escaped."""

HEARTBEAT_S = 2.0
"""Seconds between the empty lines."""

_NONSENSE = (ValueError, TypeError, LookupError, OverflowError, RecursionError)
_MAX_ADDRESSES = 32
_TEXTS = ("name", "path", "error", "hint")

Kind = Literal["file", "folder", "pattern", "none"]
"""Kind of what a path leads to, over there: ``pattern`` has wildcards, ``none`` is not served."""

_KINDS: tuple[Kind, ...] = ("file", "folder", "pattern", "none")

T = TypeVar("T")


class PathsAsked(NamedTuple):
    """Files and folders that are to be fetched. ``recursive``: with all that is below folders."""

    paths: tuple[str, ...]
    recursive: bool


class PutItem(NamedTuple):
    """File or folder that is brought.

    ``name``: its own name here; empty of standard input. ``tree``: whether it is a folder;
    ``contents``: of which only what is in it comes.
    """

    name: str
    tree: bool
    contents: bool


class PlaceAsked(NamedTuple):
    """Place that files and folders are brought to. ``force``: different ones may be replaced."""

    path: str
    items: tuple[PutItem, ...]
    force: bool


class Request(NamedTuple):
    """Request of a client.

    ``key``: of this session. ``ports``: first and last that may be used; None for any.
    ``timeout_s``: without progress, after which a transfer has failed.
    """

    key: Key
    asked: PathsAsked | PlaceAsked
    ports: tuple[int, int] | None
    timeout_s: float


class Found(NamedTuple):
    """What is asked for, as the far end has found it.

    ``name``: by which it is asked for from now on; empty of what is in a folder and is brought to
    the root of what is served. ``path``: of what is brought, as one would type it. ``error`` and
    ``hint``: why it is not served.
    """

    name: str
    kind: Kind
    path: str = ""
    error: str = ""
    hint: str = ""


class Answer(NamedTuple):
    """Answer of a far end that listens.

    ``addresses``: of its host, the likeliest first. ``found``: for each path that was asked for, or
    item that is brought, in their order.
    """

    port: int
    addresses: tuple[str, ...]
    found: tuple[Found, ...]


def encode_request(request: Request) -> bytes:
    """Write a request as a line. It has the key in it: it is for the shell's input and no log."""
    asked = request.asked
    what: dict[str, Any]
    if isinstance(asked, PathsAsked):
        what = {"get": {"paths": asked.paths, "recursive": asked.recursive}}
    else:
        items = [one._asdict() for one in asked.items]
        what = {"put": {"path": asked.path, "items": items, "force": asked.force}}
    return _line(
        key=request.key.secret.hex(), ports=request.ports, timeout_s=request.timeout_s, **what
    )


def decode_request_untrusted(line: bytes) -> Request:
    """Read a request.

    Raises:
        VersionMismatch: it is of another version.
        UsageError: it makes no sense.
    """
    try:
        fields = json.loads(line)
        if fields["udpft"] == VERSION:
            ports = fields["ports"]
            return Request(
                Key(bytes.fromhex(_text(fields["key"]))),
                _asked_untrusted(fields),
                None if ports is None else (_port(ports[0]), _port(ports[1])),
                float(fields["timeout_s"]),
            )
    except _NONSENSE:
        raise UsageError(
            "standard input has no request in it",
            hint="--for-shell is what `udpft get HOST:PATH` runs by itself",
        ) from None
    raise _other_version(fields["udpft"])


def _asked_untrusted(fields: dict[str, Any]) -> PathsAsked | PlaceAsked:
    if "get" in fields:
        get = fields["get"]
        return PathsAsked(_several(get["paths"], _text), bool(get["recursive"]))
    put = fields["put"]
    items = _several(
        put["items"],
        lambda one: PutItem(_text(one["name"]), bool(one["tree"]), bool(one["contents"])),
    )
    return PlaceAsked(_text(put["path"]), items, bool(put["force"]))


def encode_answer(answer: Answer) -> bytes:
    """Write an answer as a line."""
    found = [one._asdict() for one in answer.found]
    return _line(port=answer.port, addresses=answer.addresses, found=found)


def encode_error(error: UdpftError) -> bytes:
    """Write the error that keeps a far end from answering, as a line."""
    code = int(error.exit_code)
    return _line(error={"exit_code": code, "message": str(error), "hint": error.hint})


def decode_answer_untrusted(line: bytes) -> Answer | None:
    """Read an answer; None where the line is none, but what a shell prints when it starts.

    Raises:
        VersionMismatch: the far end is of another version.
        ShellFailed: it says so, or makes no sense.
    """
    if not line.startswith(b'{"udpft":'):
        return None
    try:
        fields = json.loads(line)
        if fields["udpft"] != VERSION:
            raise _other_version(fields["udpft"])
        if "error" in fields:
            error = fields["error"]
            raise ShellFailed(f"over there: {_text(error['message'])}", hint=_text(error["hint"]))
        addresses = _several(fields["addresses"], _address)
        return Answer(
            _port(fields["port"]), addresses[:_MAX_ADDRESSES], _several(fields["found"], _found)
        )
    except _NONSENSE:
        raise ShellFailed("the far end's answer makes no sense") from None


def _found(fields: dict[str, Any]) -> Found:
    kind = fields["kind"]
    if kind not in _KINDS:
        raise ValueError(kind)
    return Found(kind=kind, **{one: _text(fields[one]) for one in _TEXTS})


def _line(**fields: Any) -> bytes:
    return json.dumps({"udpft": VERSION, **fields}).encode() + b"\n"


def _several(values: Any, read: Callable[[Any], T]) -> tuple[T, ...]:
    if not isinstance(values, list):
        raise TypeError("no list")
    return tuple(map(read, values))


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError("no text")
    return value


def _address(value: Any) -> str:
    ipaddress.ip_address(_text(value))
    return str(value)


def _port(value: Any) -> int:
    if not isinstance(value, int) or not 1 <= value <= MAX_PORT:
        raise ValueError("no port")
    return value


def _other_version(version: object) -> VersionMismatch:
    return VersionMismatch(
        f"the udpft at one end speaks version {VERSION} to remote shells, and the other "
        f"{version!r:.20}",
        hint="upgrade the older one",
    )
