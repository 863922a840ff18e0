"""Tally of a command: what each file is told as, and what the command ends with."""

from __future__ import annotations

import json

import pytest

from udpft.cli.output.console import Console
from udpft.cli.output.exit_status import Exit
from udpft.cli.output.tally import Tally, count_of_files
from udpft.errors import DestinationExists, NoSuchFile, TimedOut, UdpftError
from udpft.outcome.bottleneck import Limit, Verdict
from udpft.outcome.result import Result

Capture = pytest.CaptureFixture[str]
RESULT = Result("file", "to/file", 4096, 0.5, "d1", 3, "reliable", True)


@pytest.fixture
def tally() -> Tally:
    return Tally(Console(), as_json=False)


@pytest.mark.parametrize(
    ("result", "begin", "end"),
    [
        (RESULT, "where: 4.1 kB in 500 ms, 8.19 kB/s", ", verified"),
        (RESULT._replace(up_to_date=True), "where: up to date", ", verified"),
        (
            RESULT._replace(up_to_date=True, verified=False),
            "where: up to date",
            ", by size and time",
        ),
        (
            RESULT._replace(resumed_bytes=2048),
            "where: 4.1 kB, 2.05 kB of it new, in 500 ms, 4.1 kB/s",
            ", verified",
        ),
        (
            RESULT._replace(hole_bytes=3072),
            "where: 4.1 kB, 3.07 kB of it holes, in 500 ms, 2.05 kB/s",
            ", verified",
        ),
        (
            RESULT._replace(hole_bytes=1024, resumed_bytes=2048),
            "where: 4.1 kB, 1.02 kB of it holes, 1.02 kB of it new, in 500 ms, 2.05 kB/s",
            ", verified",
        ),
        (
            RESULT._replace(mode="plain", verified=False),
            "where: 4.1 kB in 500 ms, 8.19 kB/s",
            ", unverified: plain checks nothing",
        ),
    ],
)
def test_a_file_is_told_in_a_line(
    tally: Tally, capsys: Capture, result: Result, begin: str, end: str
) -> None:
    tally.tell(result, "where")
    out, err = capsys.readouterr()
    assert out == ""
    (line,) = err.splitlines()
    assert line.startswith(begin)
    assert line.endswith(end)


def test_a_limit_is_told_to_all_where_it_is_slow(tally: Tally, capsys: Capture) -> None:
    verdict = Verdict(Limit.DISK, "the disk", slow=False)
    tally.tell(RESULT._replace(verdict=verdict), "where")
    assert "limited by" not in capsys.readouterr().err
    tally.tell(RESULT._replace(verdict=verdict._replace(slow=True)), "where")
    assert capsys.readouterr().err.endswith("  limited by the disk\n")


def test_the_first_failure_is_the_exit_code(tally: Tally, capsys: Capture) -> None:
    tally.end()
    tally.fail("a", NoSuchFile("none", hint="another"))
    tally.fail("b", TimedOut("late"))
    assert capsys.readouterr().err == "udpft: none\nhint: another\nudpft: late\n"
    with pytest.raises(Exit) as ending:
        tally.end()
    assert ending.value.exit_code == NoSuchFile.exit_code


def test_an_error_of_one_file_stops_no_other(tally: Tally) -> None:
    tried = []

    def do(name: str) -> UdpftError | None:
        tried.append(name)
        return {"a": DestinationExists("there"), "b": TimedOut("gone")}.get(name)

    tally.go_through("abc", do, (DestinationExists,))
    assert tried == ["a", "b"]


def test_a_file_that_was_at_work_at_ctrl_c_is_among_the_files(tally: Tally) -> None:
    def do(_name: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tally.go_through("ab", do, ())
    (file,) = tally.files
    assert (file["name"], file["message"], file["exit_code"]) == ("a", "interrupted", 130)


def test_programs_get_an_object_for_each(capsys: Capture) -> None:
    tally = Tally(Console(), as_json=True)
    tally.tell(RESULT, "where")
    tally.tell(RESULT._replace(complete=False), "where")
    tally.fail("b", NoSuchFile("none"))
    done, error = map(json.loads, capsys.readouterr().out.splitlines())
    assert (done["event"], done["path"], done["resent_packets"]) == ("done", "to/file", 3)
    assert (error["event"], error["name"], error["exit_code"]) == ("error", "b", 78)


@pytest.mark.parametrize(
    ("verbosity", "as_json", "asked", "style"),
    [
        (0, False, "auto", "auto"),
        (-1, False, "bar", "none"),
        (0, True, "auto", "json"),
        (-1, True, "bar", "json"),
        (0, True, "none", "none"),
    ],
)
def test_progress_is_for_whoever_reads(
    verbosity: int, as_json: bool, asked: str, style: str
) -> None:
    tally = Tally(Console(verbosity=verbosity), as_json)
    assert tally.progress_style(asked) == style  # type: ignore[arg-type]


def test_files_are_counted_in_words() -> None:
    assert count_of_files(RESULT) == "1 file"
    assert count_of_files(RESULT._replace(files=2)) == "2 files"


def test_a_dry_run_that_finds_nothing_to_do_counts_no_files() -> None:
    assert count_of_files(RESULT._replace(files=0, up_to_date=True)) == "nothing would come"
    assert count_of_files(RESULT._replace(files=0)) == "0 files"
    assert count_of_files(RESULT._replace(up_to_date=True)) == "1 file"
