"""``udpft web``: what it asks for, and what it says where it cannot begin."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.cli.processes import PATIENCE_S
from udpft.cli.main import run
from udpft.errors import ExitCode


def test_a_package_that_is_missing_is_named_with_the_line_that_installs_it() -> None:
    code = "import sys; sys.modules['uvicorn'] = None; from udpft.cli.main import run; "
    finished = subprocess.run(
        [sys.executable, "-c", f"{code} sys.exit(run(['web']))"],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert finished.returncode == ExitCode.USAGE
    assert "the page needs the package uvicorn, which is not installed" in finished.stderr
    assert "hint: pip install starlette uvicorn Jinja2 python-multipart" in finished.stderr


class TestBegin:
    """With the extra: what reaches the page."""

    @pytest.fixture
    def begun(self, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
        """What the page was begun with."""
        pytest.importorskip("starlette", reason="the extra web is not installed")
        calls: list[Any] = []

        def begin(*arguments: Any) -> None:
            calls.append(arguments)
            arguments[-1]("http://127.0.0.1:8080/?token=t")

        monkeypatch.setattr("udpft.web.server.run", begin)
        return calls

    def test_what_is_asked_for_reaches_the_page(
        self, begun: list[Any], here: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        (here / "docs/benchmarks").mkdir(parents=True)
        (here / "in").mkdir()
        words = ["-s", "files.lan", "--add", "a:1", "--message", "m:2", "--folder", "in"]
        assert run(["web", *words, "--max-upload", "2k"]) == 0
        [(settings, host, port, _)] = begun
        assert (host, port) == ("127.0.0.1", 8080)
        assert (settings.server, settings.add_server, settings.message_server) == (
            "files.lan",
            "a:1",
            "m:2",
        )
        assert settings.folder == here / "in"
        assert settings.reports == (Path("docs/benchmarks"),)
        assert settings.max_upload == 2_000
        out, err = capsys.readouterr()
        assert out == "http://127.0.0.1:8080/?token=t\n"
        assert "token" not in err

    def test_it_opens_a_browser_where_that_is_asked_for(
        self, begun: list[Any], here: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        opened: list[str] = []
        monkeypatch.setattr("webbrowser.open", opened.append)
        assert run(["web"]) == 0
        assert opened == []
        assert run(["web", "--open"]) == 0
        assert opened == ["http://127.0.0.1:8080/?token=t"]
        assert begun[0][0].folder == here

    @pytest.mark.usefixtures("begun")
    def test_a_folder_that_is_not_there_is_told(
        self, here: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert run(["web", "--folder", str(here / "nothing")]) == ExitCode.READ_FAILED
        assert "is no folder" in capsys.readouterr().err
