"""Documents that are shown whole: in a sandbox, with their own styles and nothing else."""

from __future__ import annotations

import asyncio
import io

import pytest

from tests.trace.test_model import conversation
from tests.trace.test_page import lines_of
from udpft.errors import UsageError
from udpft.web.documents import report_document, trace_document


def test_a_report_keeps_its_styles_and_no_script_runs() -> None:
    text = '<style>b { color: red }</style><p style="top: 1px">x</p><script>alert(1)</script>'
    policy = report_document(text).headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; ")
    assert "; sandbox; " in policy
    assert "script" not in policy
    assert "unsafe-inline" not in policy
    # printf 'top: 1px' | openssl dgst -sha256 -binary | base64
    assert "'sha256-O28scEPi1wp28nkUG+W8j5nTbUOBZEuee0EWEjDpinQ='" in policy
    assert "'sha256-ZGdF8Nt8VekqSZPbOsJK5gtSYMfMCdZes2LMWv1vzD0='" in policy


def test_a_report_without_styles_has_headers_that_can_be_sent() -> None:
    for text in ("", "<style></style>", "<p style=''>"):
        policy = report_document(text).headers["content-security-policy"]
        assert policy == policy.strip()


def test_a_trace_is_shown_as_its_page() -> None:
    answer = asyncio.run(trace_document(lines_of(conversation()[0])))
    policy = answer.headers["content-security-policy"]
    assert "; sandbox allow-scripts; " in policy
    assert "unsafe" not in policy
    assert bytes(answer.body).startswith(b"<!doctype html>")


def test_what_is_no_trace_is_told() -> None:
    with pytest.raises(UsageError, match="no trace"):
        asyncio.run(trace_document(io.BytesIO(b"hello\n")))
