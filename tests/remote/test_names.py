"""Remote names: scp's form, URLs, and what is none."""

from __future__ import annotations

import pytest

from udpft.errors import UsageError
from udpft.remote.names import RemoteName, parse_ports, parse_remote


@pytest.mark.parametrize(
    ("typed", "host", "path", "base"),
    [
        ("lab:a.txt", "lab", "a.txt", "a.txt"),
        ("ada@lab:/var/log/x", "ada@lab", "/var/log/x", "x"),
        ("lab:~/x y", "lab", "~/x y", "x y"),
        ("lab:", "lab", "", ""),
        ("lab:dir/", "lab", "dir/", ""),
        ("lab:dir/..", "lab", "dir/..", ""),
        ("lab:-dash", "lab", "-dash", "-dash"),
        ("lab:a:b", "lab", "a:b", "a:b"),
        ("lab:$x'\"\n", "lab", "$x'\"\n", "$x'\"\n"),
        ("lab:a%20b", "lab", "a%20b", "a%20b"),
        ("[::1]:x", "::1", "x", "x"),
        ("ada@[fe80::1%eth0]:x", "ada@fe80::1%eth0", "x", "x"),
    ],
)
def test_names_as_scp_has_them(typed: str, host: str, path: str, base: str) -> None:
    name = parse_remote(typed)
    assert name == RemoteName(typed, "", host, path)
    assert name.base == base


@pytest.mark.parametrize(
    ("typed", "place", "path"),
    [
        ("ssh://lab/a/b", ("ssh", "lab", 0, ""), "/a/b"),
        ("ssh://ada@lab:2222/a", ("ssh", "ada@lab", 2222, ""), "/a"),
        ("ssh://lab/~/a", ("ssh", "lab", 0, ""), "~/a"),
        ("ssh://lab", ("ssh", "lab", 0, ""), ""),
        ("ssh://lab/", ("ssh", "lab", 0, ""), "/"),
        ("ssh://[::1]:22/a", ("ssh", "::1", 22, ""), "/a"),
        ("ssh://lab/a%20b%FF", ("ssh", "lab", 0, ""), "/a b\udcff"),
        ("docker://web/etc/hosts", ("docker", "web", 0, ""), "/etc/hosts"),
        ("kubectl://web-0/etc/hosts", ("kubectl", "web-0", 0, ""), "/etc/hosts"),
        ("kubectl://prod/web-0/etc/hosts", ("kubectl", "web-0", 0, "prod"), "/etc/hosts"),
        ("kubectl://web-0/file", ("kubectl", "web-0", 0, ""), "/file"),
        ("kubectl://web-0//odd/place", ("kubectl", "web-0", 0, ""), "/odd/place"),
    ],
)
def test_urls(typed: str, place: tuple[str, str, int, str], path: str) -> None:
    name = parse_remote(typed)
    assert (name.place, name.path) == (place, path)


@pytest.mark.parametrize(
    "typed",
    [
        "-oProxyCommand=x:a",
        "ada@-oProxyCommand=x:a",
        "ssh://-oProxyCommand=x/a",
        "ssh:///a",
        "docker:///a",
        "kubectl://-n/web/etc/x",
        "ssh://lab:0/a",
        "ssh://lab:port/a",
        "ssh://lab:65536/a",
        "a b:c",
        "lab:a\0b",
    ],
)
def test_what_names_no_host_is_refused(typed: str) -> None:
    with pytest.raises(UsageError):
        parse_remote(typed)


def test_ports() -> None:
    assert parse_ports("60000-60010") == (60000, 60010)
    assert parse_ports("7") == (7, 7)
    for text in ("", "-", "0-1", "2-1", "1-65536", "a-b", "1-", "-1", "1-2-3", "٣"):
        with pytest.raises(UsageError):
            parse_ports(text)
