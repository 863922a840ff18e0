"""HTTP server of the page: where it listens, and how it ends."""

from __future__ import annotations

import signal
import socket
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from tests.web.process import Page
from udpft.errors import ExitCode, HostNotFound, UsageError
from udpft.web.server import listen, url_of


@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGINT, ExitCode.INTERRUPTED), (signal.SIGTERM, ExitCode.TERMINATED)],
)
def test_it_answers_until_a_signal_ends_it(number: signal.Signals, code: ExitCode) -> None:
    with Page() as page:
        with urllib.request.urlopen(page.url) as answer:
            assert answer.status == 200
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(page.base)
        assert refused.value.code == 403
        refused.value.close()
        ended, said = page.ended_by(number)
    assert ended == code
    assert "Traceback" not in said
    assert page.url not in said


def test_whoever_listens_for_changes_does_not_hold_up_its_end() -> None:
    with Page() as page:
        opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor())
        opener.open(page.url).close()
        with opener.open(f"{page.base}/live/transfers") as events:
            assert events.readline().startswith(b"data: ")
            assert page.ended_by(signal.SIGTERM)[0] == ExitCode.TERMINATED


def test_a_port_that_is_taken_is_told_with_a_hint() -> None:
    with listen("127.0.0.1", 0) as sock:
        with pytest.raises(UsageError, match="cannot listen on TCP") as refused:
            listen(*sock.getsockname())
        assert "--port" in refused.value.hint
    with pytest.raises(HostNotFound):
        listen("no-such-host.invalid", 0)


def test_unless_told_otherwise_only_this_machine_is_listened_to() -> None:
    with Page() as page:
        port = int(page.base.rpartition(":")[2])
        listening = {  # /proc/net/tcp: the addresses on which that port is listened on
            line.split()[1].partition(":")[0]
            for path in ("/proc/net/tcp", "/proc/net/tcp6")
            for line in Path(path).read_text().splitlines()[1:]
            if line.split()[3] == "0A" and int(line.split()[1].partition(":")[2], 16) == port
        }
        assert listening == {f"{int.from_bytes(socket.inet_aton('127.0.0.1'), 'little'):08X}"}


def test_a_url_is_one_that_a_browser_here_can_open() -> None:
    assert url_of("0.0.0.0", 80, "t") == "http://127.0.0.1:80/?token=t"
    assert url_of("::", 80, "t") == "http://[::1]:80/?token=t"
    assert url_of("files.lan", 8080, "t") == "http://files.lan:8080/?token=t"
