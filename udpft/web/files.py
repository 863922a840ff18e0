"""Files of the server: browsed, searched, fetched into the folder here, and stored."""

from __future__ import annotations

from fnmatch import fnmatchcase
from pathlib import PurePosixPath
from typing import Any, NamedTuple

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import FormData, UploadFile
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from udpft.errors import NoSuchFile, TooLarge, UdpftError, UsageError
from udpft.protocol.wire.listing import Entry
from udpft.web.forms import (
    MAX_FORM_BYTES,
    Field,
    decoded,
    encoded,
    read_form,
    text_in,
    text_in_query,
)
from udpft.web.rendering import Rendering, sentence
from udpft.web.transfers import Transfers

MAX_SHOWN = 1_000
"""Entries on one page."""

_WILDCARDS = frozenset("*?[")


class Found(NamedTuple):
    """What a page shows of the server: ``entries``, and how many more there are."""

    entries: list[Entry]
    more: int = 0
    error: UdpftError | None = None


class Files:
    """View of the server's files.

    Attributes:
        _rendering: of the page.
        _transfers: where fetched and stored files are at work.
    """

    def __init__(self, rendering: Rendering, transfers: Transfers) -> None:
        self._rendering = rendering
        self._transfers = transfers

    def routes(self) -> list[Route]:
        """Paths of the view."""
        return [
            Route("/files", self._show),
            Route("/files/fetch", self._fetch, methods=["POST"]),
            Route("/files/store", self._store, methods=["POST"]),
        ]

    def _find(self, folder: str, wanted: str) -> Found:
        """List a folder, or what is wanted below it; in a thread."""
        try:
            with self._rendering.settings.client() as client:
                entries = client.list_files(folder, recursive=bool(wanted))
        except UdpftError as error:
            return Found([], error=error)
        entries = [one for one in entries if not one.is_folder or one.path != folder.strip("/")]
        if wanted:
            entries = [one for one in entries if matches(one.path, wanted)]
        entries.sort(key=lambda one: not one.is_folder)
        return Found(entries[:MAX_SHOWN], max(0, len(entries) - MAX_SHOWN))

    async def _page(
        self, request: Request, folder: str, wanted: str = "", status: int = 200, **fields: Any
    ) -> Response:
        found = await run_in_threadpool(self._find, folder, wanted)
        if found.error and status == 200:
            status = 404 if isinstance(found.error, NoSuchFile) else 502
        parts = [part for part in folder.split("/") if part]
        above = [("/".join(parts[: at + 1]), part) for at, part in enumerate(parts)]
        shown: dict[str, Any] = {"file_field": Field(), "fetch_error": None, **fields}
        return self._rendering.page(
            request,
            "files.html",
            status,
            folder="/".join(parts),
            above=above,
            wanted=wanted,
            found=found,
            transfers=self._transfers.newest_first,
            live="transfers",
            moving="transfers" if self._transfers.at_work else "",
            **shown,
        )

    async def _show(self, request: Request) -> Response:
        # A form encodes a text, and so a name that is none is encoded before.
        folder = text_in_query(request, "path") or decoded(text_in_query(request, "in"))
        return await self._page(request, folder, text_in_query(request, "q").strip())

    # ------------------------------------------------------------------------------------ fetching

    async def _fetch(self, request: Request) -> Response:
        form = await read_form(request, self._rendering.access)
        name = decoded(text_in(form, "name"))
        folder = str(PurePosixPath(name).parent)
        try:
            check_fetched(name)
            self._transfers.fetch(
                name,
                is_folder=text_in(form, "kind") == "folder",
                record=text_in(form, "record") == "yes",
            )
        except UdpftError as error:
            return await self._page(
                request, "" if folder == "." else folder, status=422, fetch_error=error
            )
        return RedirectResponse(_back(form), 303)

    # ------------------------------------------------------------------------------------- storing

    async def _store(self, request: Request) -> Response:
        limit = self._rendering.settings.max_upload
        try:
            form = await read_form(request, self._rendering.access, limit + MAX_FORM_BYTES)
        except TooLarge as error:
            field = Field("", f"{sentence(error)}. {sentence(error.hint)}.")
            return await self._page(request, "", status=413, file_field=field)
        folder = decoded(text_in(form, "folder"))
        files = [one for one in form.getlist("file") if isinstance(one, UploadFile)]
        chosen = [one for one in files if one.filename]
        try:
            if not chosen:
                raise UsageError("choose a file first, or drop one here")
            named = [(stored_name(folder, one.filename or ""), one) for one in chosen]
            for name, one in named:
                self._transfers.store(
                    name,
                    one.file,
                    record=text_in(form, "record") == "yes",
                    force=text_in(form, "force") == "yes",
                )
        except UdpftError as error:
            field = Field("", f"{sentence(error)}.")
            return await self._page(request, folder, status=422, file_field=field)
        return RedirectResponse(_back(form), 303)


def _back(form: FormData) -> str:
    """Path of the folder that a form was on."""
    return f"/files?path={encoded(decoded(text_in(form, 'folder')))}#transfers"


def matches(path: str, wanted: str) -> bool:
    """Whether a file is one that is wanted: by wildcards, or by a part of its path."""
    name, words = path.rpartition("/")[2].lower(), wanted.lower()
    if _WILDCARDS & set(words):
        return fnmatchcase(name, words)
    return words in path.lower()


def check_fetched(name: str) -> None:
    """See whether a file that the server has listed may be fetched by one click.

    Its name becomes a file's here, and that is the server's choice: hidden ones may be settings of
    a program.

    Raises:
        UsageError: its name begins with a dot, or is none.
    """
    last = name.rstrip("/").rpartition("/")[2]
    if not last:
        raise UsageError("there is no name")
    if last.startswith("."):
        raise UsageError(
            f"{last!r} begins with a dot, and could be a program's settings",
            hint="`udpft get` fetches it, where you want that",
        )


def stored_name(folder: str, filename: str) -> str:
    """Name on the server of a file that a browser brings: of its path, the last part.

    Raises:
        UsageError: it has none.
    """
    last = filename.replace("\\", "/").rpartition("/")[2]
    if last in ("", ".", "..") or "\0" in last:
        raise UsageError(f"{filename!r} names no file")
    return f"{folder}/{last}" if folder else last
