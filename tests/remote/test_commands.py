"""Command lines of remote shells."""

from __future__ import annotations

import pytest

from udpft.errors import UsageError
from udpft.remote.commands import ShellOptions, command_line, host_on_network
from udpft.remote.names import parse_remote

END = ["serve", "--for-shell"]


@pytest.mark.parametrize(
    ("name", "rsh", "remote", "expected"),
    [
        ("lab:x", "ssh", "udpft", ["ssh", "lab", "udpft"]),
        (
            "a@lab:x",
            "ssh -p 2 -J jump",
            "udpft",
            ["ssh", "-p", "2", "-J", "jump", "a@lab", "udpft"],
        ),
        ("ssh://lab:2/x", "ssh", "udpft", ["ssh", "-p", "2", "lab", "udpft"]),
        ("lab:x", "ssh", "python3 -m udpft", ["ssh", "lab", "python3", "-m", "udpft"]),
        ("lab:x", "ssh", "~/bin/udpft", ["ssh", "lab", "~/bin/udpft"]),
        ("lab:x", "ssh", "'my dir/udpft'", ["ssh", "lab", "'my dir/udpft'"]),
        ("lab:x", "ssh -i 'a key'", "udpft", ["ssh", "-i", "a key", "lab", "udpft"]),
        ("docker://web/x", "ssh", "udpft", ["docker", "exec", "-i", "web", "udpft"]),
        ("web:x", "docker exec -i", "'a b'", ["docker", "exec", "-i", "web", "a b"]),
        ("web:x", "podman exec -i", "udpft", ["podman", "exec", "-i", "web", "udpft"]),
        ("kubectl://web/x", "ssh", "udpft", ["kubectl", "exec", "-i", "web", "--", "udpft"]),
        (
            "kubectl://prod/web/etc/x",
            "ssh",
            "udpft",
            ["kubectl", "exec", "-i", "-n", "prod", "web", "--", "udpft"],
        ),
        ("web:x", "kubectl exec -i", "udpft", ["kubectl", "exec", "-i", "web", "--", "udpft"]),
        ("me:x", "sudo -u x", "udpft", ["sudo", "-u", "x", "udpft"]),
        ("web:x", "sudo docker exec -i", "u", ["sudo", "docker", "exec", "-i", "web", "u"]),
        ("lab:x", "ssh -J docker", "u v", ["ssh", "-J", "docker", "lab", "u", "v"]),
        ("lab:x", "/opt/my-shell -q", "u", ["/opt/my-shell", "-q", "lab", "u"]),
    ],
)
def test_what_is_run(name: str, rsh: str, remote: str, expected: list[str]) -> None:
    assert command_line(parse_remote(name), ShellOptions(rsh, remote)) == [*expected, *END]


@pytest.mark.parametrize(("rsh", "remote"), [("", "u"), (" ", "u"), ("ssh", ""), ("ssh '", "u")])
def test_what_is_no_command_is_refused(rsh: str, remote: str) -> None:
    with pytest.raises(UsageError):
        command_line(parse_remote("lab:x"), ShellOptions(rsh, remote))


@pytest.mark.parametrize(
    ("name", "rsh", "host"),
    [
        ("ada@lab:x", "ssh -p 2", "lab"),
        ("[::1]:x", "ssh", "::1"),
        ("lab:x", "/opt/my-shell", "lab"),
        ("docker://web/x", "ssh", ""),
        ("web:x", "kubectl exec -i", ""),
        ("me:x", "sudo -u x", ""),
    ],
)
def test_a_host_is_looked_up_where_there_may_be_one(name: str, rsh: str, host: str) -> None:
    assert host_on_network(parse_remote(name), ShellOptions(rsh)) == host
