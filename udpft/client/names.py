"""Names of what is transferred: where a fetched file goes, and what a stored one is called."""

from __future__ import annotations

import os

from udpft.errors import LocalReadFailed, UsageError


def destination_of(name: str, output: str | os.PathLike[str] | None) -> str:
    """The path for a fetched file: ``output``, or in it where it is a folder, or its own name.

    The name is the last part of what the user asked for, and never the server's choice.

    Raises:
        UsageError: the name has no last part that could be a file's.
    """
    base = name.rsplit("/", 1)[-1]
    if output is not None:
        text = os.fspath(output)
        if not text.endswith("/") and not os.path.isdir(text):
            return tidied(text)
    if base in ("", ".", "..") or "\0" in name:
        hint = "`get -r` fetches a folder" if name.strip("/") else ""
        raise UsageError(f"{name!r} names no file", hint=hint)
    return tidied(os.path.join(output or "", base))


def name_on_server(path: str | os.PathLike[str], as_name: str | None) -> str:
    """The name for a stored file; ``as_name`` with a slash at its end is a folder's.

    Raises:
        UsageError: the path has no last part that could be a file's name.
        LocalReadFailed: it can be told from the working directory only, which is gone.
    """
    if as_name and not as_name.endswith("/"):
        return as_name
    text = os.fspath(path)
    last = text.rstrip("/").rpartition("/")[2]
    if last in ("", ".", ".."):
        last = os.path.basename(absolute(text))
    if not last:
        raise UsageError(f"{text!r} names no file", hint="--as gives it a name there")
    return (as_name or "") + last


def absolute(path: str) -> str:
    """A path from the root on.

    Raises:
        LocalReadFailed: it is relative, and the working directory was removed.
    """
    try:
        return os.path.abspath(path)
    except FileNotFoundError as error:
        raise LocalReadFailed(
            f"cannot tell what {path!r} is: the working directory is gone", hint="cd elsewhere"
        ) from error


def check_is_sha256(text: str) -> str:
    """The text, if it is a SHA-256 in hex; raises UsageError."""
    if len(text) != 64 or not set(text.lower()) <= set("0123456789abcdef"):
        raise UsageError(f"{text!r} is no SHA-256", hint="64 hex digits, as sha256sum prints them")
    return text


def tidied(path: str | os.PathLike[str]) -> str:
    """A path without ``.`` components and needless slashes, as pathlib writes it."""
    text = os.fspath(path)
    parts = [part for part in text.split("/") if part not in ("", ".")]
    return "/" * text.startswith("/") + "/".join(parts) or "."
