"""Documents that the page shows whole: pages of traces, and reports that are files on a disk.

They are nobody's forms, and one may come from anybody: each is shown in a sandbox, as if it came
from another site. It may load nothing; of a report, no script runs.
"""

from __future__ import annotations

import html
import re
from base64 import b64encode
from collections.abc import Iterable
from hashlib import sha256

from starlette.concurrency import run_in_threadpool
from starlette.responses import HTMLResponse, Response

from udpft.errors import UsageError
from udpft.trace.page import page_of
from udpft.trace.qlog import NotATrace

MAX_HASHES = 400
"""Distinct styles of a report that are allowed; one with more of them is shown without the rest."""

_STYLES = re.compile(r"<style[^>]*>(.*?)</style>", re.DOTALL | re.IGNORECASE)
_ATTRIBUTES = re.compile(r"""\sstyle=(?:"([^"]*)"|'([^']*)')""", re.IGNORECASE)
_SCRIPTS = re.compile(r"<script>(.*?)</script>", re.DOTALL)


def _hashes(texts: Iterable[str]) -> str:
    found = sorted({b64encode(sha256(text.encode()).digest()).decode() for text in texts})
    return " ".join(f"'sha256-{one}'" for one in found[:MAX_HASHES])


def _document(text: str, policy: str) -> Response:
    common = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    return HTMLResponse(text, headers={"Content-Security-Policy": f"{common}; {policy}".rstrip()})


def report_document(text: str) -> Response:
    """Show a report: HTML with its styles and pictures in it, and without any script."""
    attributes = [html.unescape(a or b) for a, b in _ATTRIBUTES.findall(text)]
    styles = f"'unsafe-hashes' {_hashes([*_STYLES.findall(text), *attributes])}"
    return _document(text, f"sandbox; img-src data:; style-src {styles}")


async def trace_document(lines: Iterable[bytes]) -> Response:
    """Show the page of a trace, made of its events. Raises UsageError: they are none."""
    try:
        text = await run_in_threadpool(lambda: page_of([lines]))
    except NotATrace as why:
        raise UsageError(f"no trace: {why}") from None
    styles, scripts = _hashes(_STYLES.findall(text)), _hashes(_SCRIPTS.findall(text))
    return _document(text, f"sandbox allow-scripts; style-src {styles}; script-src {scripts}")
