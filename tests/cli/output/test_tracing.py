"""``--trace`` of get, put and serve: processes, and the files that are left."""

from __future__ import annotations

from pathlib import Path

from tests.cli.processes import Server, run_udpft
from tests.trace.files import captured_in, events_in, named


def kinds(path: Path, way: str) -> set[str]:
    return {data["header"]["packet_type"] for data in named(events_in(path), f"transport:{way}")}


def test_get_put_and_serve_leave_their_traces(tmp_path: Path) -> None:
    (tmp_path / "served").mkdir()
    (tmp_path / "served" / "x").write_bytes(bytes(5000))
    (tmp_path / "y").write_bytes(bytes(5000))
    theirs = [tmp_path / "s.sqlog", tmp_path / "s.pcapng", tmp_path / "s.html"]
    words = [word for path in theirs for word in ("--trace", str(path))]
    with Server("serve", str(tmp_path / "served"), "--writable", *words) as server:
        for command in (["get", "x", "-o", str(tmp_path / "out")], ["put", str(tmp_path / "y")]):
            ours = [tmp_path / f"{command[0]}.{end}" for end in ("sqlog", "pcapng", "html")]
            words = [word for path in ours for word in ("--trace", str(path))]
            done = run_udpft(*command, "-s", server.address, *words)
            assert (done.returncode, done.stderr.count("\n")) == (0, 1), done.stderr
            sends = "packet_received" if command[0] == "get" else "packet_sent"
            assert "DATA" in kinds(ours[0], sends)
            assert len(captured_in(ours[1])) > 5
            assert "seen by the client" in ours[2].read_text()
        server.stop()
    assert "DATA" in kinds(theirs[0], "packet_sent") & kinds(theirs[0], "packet_received")
    assert len(captured_in(theirs[1])) > 10
    assert "seen by the server" in theirs[2].read_text()


def test_verbose_names_the_files(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"1")
    with Server("serve", str(tmp_path)) as server:
        words = [
            "-s",
            server.address,
            "-o",
            str(tmp_path / "o"),
            "--trace",
            str(tmp_path / "t.sqlog"),
        ]
        done = run_udpft("-v", "get", "x", *words)
    assert f"trace: {tmp_path / 't.sqlog'}" in done.stderr


def test_a_trace_that_is_full_says_so_and_the_transfer_goes_on(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(bytes(200_000))
    with Server("serve", str(tmp_path)) as server:
        words = ["-s", server.address, "-o", str(tmp_path / "o"), "--trace-limit", "9k"]
        done = run_udpft("get", "x", *words, "--trace", str(tmp_path / "t.pcapng"))
    assert done.returncode == 0
    assert "the trace stopped at 9 kB" in done.stderr
    assert (tmp_path / "o").stat().st_size == 200_000


def test_nonsense_is_a_usage_error_before_anything_is_done(tmp_path: Path) -> None:
    done = run_udpft("get", "x", "--trace", str(tmp_path / "t.txt"))
    assert done.returncode == 2
    assert ".sqlog" in done.stderr
    done = run_udpft("serve", str(tmp_path), "--trace", str(tmp_path / "no" / "t.sqlog"))
    assert done.returncode == 23
    assert "cannot write the trace" in done.stderr
