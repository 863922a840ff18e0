"""Reports of before: measurements of this page, and files in the folders that have some."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from udpft.errors import TooLarge
from udpft.units import format_bytes
from udpft.web.documents import report_document, trace_document
from udpft.web.forms import text_in_query
from udpft.web.measuring import Bench
from udpft.web.rendering import Rendering

MAX_REPORTS = 200
"""Files that are listed."""

MAX_REPORT_BYTES = 64 << 20
"""Bytes of one that is shown."""

_MAX_LOOKED_AT = 5_000
_KINDS = {".html": "report", ".sqlog": "trace"}


class Report(NamedTuple):
    """A report on the disk: ``name``, relative to its folder; its ``kind``, size and time."""

    name: str
    path: Path
    kind: str
    size: int
    mtime_ns: int


def reports_in(folders: tuple[Path, ...]) -> list[Report]:
    """Reports below some folders, newest first."""
    found: list[Report] = []
    for path, name in _files_in(folders):
        kind = _KINDS.get(path.suffix)
        if kind:
            try:
                is_ = path.lstat()
            except OSError:
                continue
            if stat.S_ISREG(is_.st_mode):
                found.append(Report(name, path, kind, is_.st_size, is_.st_mtime_ns))
    return sorted(found, key=lambda one: -one.mtime_ns)[:MAX_REPORTS]


def _files_in(folders: tuple[Path, ...]) -> Iterator[tuple[Path, str]]:
    """Files below folders, through no symlink, with their names there."""
    left = _MAX_LOOKED_AT
    for folder in folders:
        for above, _, names in os.walk(folder):
            for name in names:
                left -= 1
                if left < 0:
                    return
                path = Path(above, name)
                yield path, str(path.relative_to(folder.parent))


class Reports:
    """View of the reports.

    Attributes:
        _rendering: of the page.
        _bench: has the measurements of this page.
    """

    def __init__(self, rendering: Rendering, bench: Bench) -> None:
        self._rendering = rendering
        self._bench = bench

    def routes(self) -> list[Route]:
        """Paths of the view."""
        return [Route("/reports", self._show), Route("/reports/file", self._show_file)]

    async def _listed(self) -> list[Report]:
        found: list[Report] = await run_in_threadpool(reports_in, self._rendering.settings.reports)
        return found

    async def _show(self, request: Request) -> Response:
        return self._rendering.page(
            request, "reports.html", measured=self._bench.finished, reports=await self._listed()
        )

    async def _show_file(self, request: Request) -> Response:
        """Show one that is listed: no other name is ever opened."""
        name = text_in_query(request, "name")
        report = next((one for one in await self._listed() if one.name == name), None)
        if report is None:
            raise HTTPException(404)
        if report.size > MAX_REPORT_BYTES:
            raise TooLarge(f"it has more than {format_bytes(MAX_REPORT_BYTES)}")
        if report.kind == "trace":
            with report.path.open("rb") as events:
                return await trace_document(events)
        return report_document(report.path.read_text(encoding="utf-8", errors="replace"))
