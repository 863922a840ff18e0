"""Page of a trace: one file of HTML that needs nothing else, for any browser.

What it shows is made here (`model`); the script in ``assets`` draws it. The page may run that
script, and use that style, and load nothing: its Content-Security-Policy names both by their
hashes.
"""

from __future__ import annotations

import html
import json
from base64 import b64encode
from collections.abc import Iterable, Sequence
from hashlib import sha256
from importlib.resources import files
from typing import Any

from udpft.trace.model import model_of
from udpft.trace.qlog import records_in


def page_of(traces: Sequence[Iterable[bytes]]) -> str:
    """Make the page of a trace, or of two: one of each end.

    Args:
        traces: each the lines of a file of events.

    Raises:
        NotATrace: one is none.
    """
    model = model_of([list(records_in(lines)) for lines in traces])
    assets = files("udpft.trace") / "assets"
    style, script, body = (
        (assets / name).read_text(encoding="utf-8") for name in ("page.css", "page.js", "page.html")
    )
    # A slash that ends the element must not stand in it.
    data = json.dumps(model, separators=(",", ":")).replace("<", "\\u003c")
    policy = (
        f"default-src 'none'; style-src {_hash(style)}; script-src {_hash(script)}; "
        "base-uri 'none'; form-action 'none'"
    )
    return (
        body.replace("{{policy}}", policy)
        .replace("{{title}}", html.escape(_title(model)))
        .replace("{{summary}}", _rows(model["summary"]))
        .replace("{{style}}", style)
        .replace("{{script}}", script)
        .replace("{{data}}", data)
    )


def _hash(text: str) -> str:
    return f"'sha256-{b64encode(sha256(text.encode()).digest()).decode()}'"


def _title(model: dict[str, Any]) -> str:
    request = next((value for name, value in model["summary"] if name == "Request"), "a trace")
    return f"udpft: {request}, seen by the {' and the '.join(model['sides'])}"


def _rows(summary: Sequence[Sequence[str]]) -> str:
    return "".join(
        f"<div><dt>{html.escape(name)}</dt><dd>{html.escape(value)}</dd></div>"
        for name, value in summary
    )
