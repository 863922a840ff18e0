"""The comparison: real fetches by cp and curl on this host, and what is made of samples."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import socket
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from bench.contenders import Copy, Nginx, Place, PythonHttpServer, Udpft, parse_contender
from bench.links import LOOPBACK, LinkCounters
from bench.measure import Sample, cpu_seconds, peak_rss_bytes, process_tree, run_timed, sha256
from bench.serving import Hosts, Source, served
from bench.versus import make_source, parse_arguments, run_rounds, table, write_json

HOSTS = Hosts(LOOPBACK, LOOPBACK)


@dataclass(frozen=True)
class Forger(Copy):
    """Delivers a file of the right size with the wrong bytes."""

    def fetch(self, place: Place, name: str, destination: Path) -> list[str]:
        size_bytes = (place.root / name).stat().st_size
        return ["truncate", "--size", str(size_bytes), str(destination)]


@pytest.fixture
def source(tmp_path: Path) -> Source:
    return make_source(tmp_path, 100_000, seed=1)


@pytest.fixture
def place(tmp_path: Path, source: Source, free_port: int) -> Place:
    (tmp_path / "work").mkdir()
    return Place(source.path.parent, tmp_path / "work", "127.0.0.1", free_port)


@pytest.fixture
def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def sample(contender: str, number: int, seconds: float, **more: object) -> Sample:
    values = {
        "size_bytes": 10**8,
        "client_cpu_s": 0.1,
        "server_cpu_s": 0.2,
        "client_rss_bytes": 2 * 10**7,
        "server_rss_bytes": 10**7,
    }
    return Sample(contender, number, seconds=seconds, **(values | more))  # type: ignore[arg-type]


class TestFetch:
    def test_a_right_file_makes_a_sample_and_is_removed(self, source: Source, place: Place) -> None:
        destination = place.work / "out"
        with served("cp", Copy(), place, HOSTS) as server:
            result = server.fetch(source, destination, number=3, timeout_s=30)
        assert (result.error, result.round, result.size_bytes) == ("", 3, 100_000)
        assert result.seconds > 0
        assert not destination.exists()

    def test_a_wrong_file_is_a_failure_not_a_number(self, source: Source, place: Place) -> None:
        with served("forger", Forger(), place, HOSTS) as server:
            result = server.fetch(source, place.work / "out", number=1, timeout_s=30)
        assert result.error == "the file that arrived is not the source"
        assert result.bytes_per_s == 0

    def test_a_server_is_started_used_and_ended(self, source: Source, place: Place) -> None:
        if not shutil.which("curl"):
            pytest.skip("no curl")
        with served("http.server", PythonHttpServer(), place, HOSTS) as server:
            result = server.fetch(source, place.work / "out", number=1, timeout_s=30)
            assert result.error == ""
            assert result.server_rss_bytes > 10**6
        assert not Path(f"/proc/{server.pid}").exists()

    def test_a_server_that_does_not_start_says_why(self, place: Place) -> None:
        @dataclass(frozen=True)
        class Broken(Copy):
            def serve(self, place: Place) -> list[str]:
                return ["ls", str(place.root / "nowhere")]

            def fetch(self, place: Place, name: str, destination: Path) -> list[str]:  # noqa: ARG002
                return ["false"]

        with (
            pytest.raises(RuntimeError, match=r"broken does not serve: exit 1.*nowhere"),
            served("broken", Broken(), place, HOSTS),
        ):
            pass


class TestMeasure:
    def test_a_failing_command_tells_its_exit_and_its_words(self) -> None:
        result = run_timed(["ls", "/nonexistent"], timeout_s=30)
        assert result.error.startswith("exit 2: ls: ")

    def test_a_command_that_takes_too_long_is_killed(self) -> None:
        result = run_timed(["sleep", "1000"], timeout_s=0.05)
        assert result.error == "not done after 0.05 s"

    def test_processor_time_is_the_command_s_own(self) -> None:
        busy = "import time\nwhile time.process_time() < 0.1: pass"
        assert 0.1 <= run_timed([sys.executable, "-c", busy], timeout_s=30).cpu_s < 5

    def test_this_process_has_a_tree_memory_and_processor_time(self) -> None:
        assert os.getpid() in process_tree(os.getpid())
        assert peak_rss_bytes(os.getpid()) > 10**6
        assert cpu_seconds(os.getpid()) > 0


class TestSource:
    def test_it_is_seeded_and_its_digest_is_right(self, tmp_path: Path) -> None:
        files = []
        for folder in (tmp_path / "a", tmp_path / "b"):
            folder.mkdir()
            files.append(make_source(folder, 100_000, seed=7))
        data = files[0].path.read_bytes()
        assert data == files[1].path.read_bytes()
        assert files[0].sha256 == hashlib.sha256(data).hexdigest() == sha256(files[0].path)


class TestRounds:
    def test_everyone_has_a_turn_in_each_round_and_warm_up_is_not_counted(
        self, source: Source, place: Place, tmp_path: Path
    ) -> None:
        args = parse_arguments(["cp", "--rounds", "2"])
        labels = ["cp", "forger"]
        with (
            served("cp", Copy(), place, HOSTS) as copy,
            served("forger", Forger(), place, HOSTS) as forger,
        ):
            samples = run_rounds([copy, forger], source, args)
        turns = {(s.round, s.contender) for s in samples}
        assert turns == {(number, label) for number in (1, 2) for label in labels}
        write_json(tmp_path / "run.json", args, {"kernel": "6"}, samples)
        record = json.loads((tmp_path / "run.json").read_text())
        assert record["schema"] == 1
        assert [s["contender"] for s in record["samples"]] == [s.contender for s in samples]


class TestTable:
    def test_ratios_are_taken_within_a_round(self) -> None:
        samples = [sample("a", n, seconds) for n, seconds in ((1, 1.0), (2, 10.0), (3, 1.0))]
        samples += [sample("b", n, seconds) for n, seconds in ((1, 2.0), (2, 5.0), (3, 2.0))]
        _, _, b = table(samples, ["a", "b"])
        assert b.split() == ["b", "50.0", "20.0", "50.0", "0.50", "1.00", "2.00", "20", "10"]

    def test_what_failed_has_no_rate(self) -> None:
        samples = [sample("a", 1, 1.0), sample("b", 1, 1.0, error="exit 28: no answer")]
        lines = table(samples, ["a", "b"])
        assert lines[2] == "b  failed: exit 28: no answer"

    def test_some_failures_are_told_beside_the_rates(self) -> None:
        samples = [sample("a", 1, 1.0), sample("a", 2, 1.0, error="exit 28: no answer")]
        assert table(samples, ["a"])[1].endswith("1 of 2 failed")

    def test_a_link_shows_what_was_sent_and_lost(self) -> None:
        link = LinkCounters(offered=1000, offered_bytes=110_000_000, lost=15, dropped=5)
        line = table([sample("a", 1, 1.0, data_link=link)], ["a"])[1]
        assert line.split()[-2:] == ["1.100", "2.00%"]

    def test_an_emulator_that_could_not_keep_up_casts_doubt(self) -> None:
        link = LinkCounters(offered=1000, offered_bytes=10**6, late=100, overrun=20)
        lines = table([sample("a", 1, 1.0, data_link=link)], ["a"])
        assert lines[-1].startswith("Doubtful: ")
        assert "10.0% of the packets over 1 ms late, 2.00% missed" in lines[-1]


class TestContenders:
    @pytest.mark.parametrize(
        ("label", "contender"),
        [
            ("nginx", Nginx()),
            ("nginx:cubic", Nginx(tcp_controller="cubic")),
            ("http.server", PythonHttpServer()),
            ("udpft:--chunk-size auto", Udpft(options="--chunk-size auto")),
            ("cp", Copy()),
        ],
    )
    def test_labels(self, label: str, contender: object) -> None:
        assert parse_contender(label) == contender

    def test_an_unknown_one_is_told_the_known(self) -> None:
        with pytest.raises(ValueError, match="choose from udpft, nginx"):
            parse_contender("ftp")

    def test_udpft_is_called_with_its_options(self, place: Place) -> None:
        command = Udpft(options="--chunk-size auto").fetch(place, "file.bin", Path("/tmp/out"))
        assert command[-3:] == ["/tmp/out", "--chunk-size", "auto"]
        assert f"127.0.0.1:{place.port}" in command


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["ftp"], "'ftp' is no contender"),
        (["nginx:cubic"], "a congestion controller is set in namespaces"),
        (["nginx", "--queue", "much"], "'much' is not a size"),
        (["nginx", "--loss", "101%"], "loss is a share from 0 to 1"),
    ],
)
def test_wrong_words_are_told_before_anything_starts(
    words: list[str], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        parse_arguments(words)
    assert stop.value.code == 2
    assert complaint in capsys.readouterr().err
