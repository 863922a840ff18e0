"""udpft as a library: the promises to a program that imports it."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import udpft
from tests.loopback import HeldTransfer, meanwhile
from tests.samples import LARGE, PATIENCE_S, SIZES, sample
from udpft.api import RunningServer
from udpft.errors import PartialTransfer, ServerBusy, Stopped, UsageError


def test_a_folder_served_and_a_file_fetched(samples: Path, tmp_path: Path) -> None:
    with udpft.serve(samples, port=0) as server:
        assert (server.host, server.address) == ("127.0.0.1", f"127.0.0.1:{server.port}")
        assert udpft.ping(server.address) > 0
        result = udpft.get("4096", server=server.address, output=tmp_path)
    assert isinstance(result, udpft.Result)
    assert result.path == tmp_path / "4096"
    assert result.path.read_bytes() == sample(4096)
    assert result.rate_bytes_per_s == 4096 / result.seconds


def test_a_result_cannot_be_changed(server: RunningServer, tmp_path: Path) -> None:
    result = udpft.get("1", server=server.address, output=tmp_path)
    with pytest.raises(AttributeError):
        result.verified = False  # type: ignore[misc]


def in_a_new_python(code: str) -> str:
    """What a program prints that imports udpft as its first."""
    finished = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    return finished.stdout.decode().strip()


def test_importing_it_imports_next_to_nothing() -> None:
    modules = in_a_new_python("import sys, udpft; print(*(m for m in sys.modules if 'udpft' in m))")
    assert modules == "udpft"
    assert in_a_new_python("import udpft; print(udpft.errors.NoSuchFile.exit_code)") == "78"
    assert in_a_new_python("import udpft; print(udpft.aio.get.__name__)") == "get"


def test_the_public_names_are_there() -> None:
    assert set(udpft.__all__) <= set(dir(udpft))
    for name in udpft.__all__:
        assert getattr(udpft, name)
    with pytest.raises(AttributeError):
        udpft.nothing_of_that_name  # noqa: B018


def test_a_server_stops_from_any_thread_and_twice(samples: Path) -> None:
    server = udpft.serve(samples, port=0)
    threads = [threading.Thread(target=server.stop) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    server.stop()


def test_a_server_that_is_not_waited_for_ends_all_the_same(samples: Path) -> None:
    with udpft.serve(samples, port=0) as server:
        held = HeldTransfer(server, "1")
        server.stop(drain=1_000, wait=False)
        with pytest.raises(ServerBusy):  # no new transfers
            udpft.get("2048", server=server.address, connect_timeout=0.1)
        held.end()


def test_a_shorter_time_to_end_cuts_transfers_off(samples: Path) -> None:
    served: list[udpft.Served] = []
    server = udpft.serve(samples, port=0, on_served=served.append)
    HeldTransfer(server, "1")
    server.stop(drain=1_000, wait=False)
    server.stop(drain=0)
    assert isinstance(served[0].error, PartialTransfer)


def test_words_of_a_few_are_none_of_others(server: RunningServer, samples: Path) -> None:
    with pytest.raises(UsageError, match="mode is one of reliable, plain, and not 'bogus'"):
        udpft.get("1", server=server, mode="bogus")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="plain is one of"):
        udpft.serve(samples, port=0, plain="sometimes")  # type: ignore[arg-type]


def test_a_closed_client_says_so(server: RunningServer, tmp_path: Path) -> None:
    with udpft.Client(server) as client:
        pass
    for call in (
        client.ping,
        client.list_files,
        lambda: client.fetch("1", tmp_path / "1"),
        lambda: client.fetch_plain("1", tmp_path / "1"),
        lambda: client.store(__file__),
        lambda: client.read_bytes("1"),
    ):
        with pytest.raises(UsageError, match="the client is closed"):
            call()


def test_several_threads_fetch_at_once(server: RunningServer, tmp_path: Path) -> None:
    def fetch(number: int) -> udpft.Result:
        size = SIZES[number % len(SIZES)]
        return udpft.get(str(size), server=server.address, output=tmp_path / str(number))

    with ThreadPoolExecutor(16) as pool:
        for result in pool.map(fetch, range(64)):
            assert result.path.read_bytes() == sample(result.bytes)


def test_a_fetch_is_stopped_from_another_thread_and_gone_on_with(
    samples: Path, tmp_path: Path
) -> None:
    stop, halfway = udpft.Stop(), threading.Event()
    out = tmp_path / "out"

    def progress(done: int, total: int) -> None:
        if done > total / 3:
            halfway.set()

    def fetch() -> None:
        with pytest.raises(Stopped) as caught:
            udpft.get(str(LARGE), server=server.address, output=out, progress=progress, stop=stop)
        assert (caught.value.exit_code, caught.value.hint) == (
            130,
            "run the same command again to resume",
        )

    with udpft.serve(samples, port=0, max_rate=6_000_000) as server:
        with meanwhile(fetch):
            assert halfway.wait(PATIENCE_S)
            stop.set()
        with pytest.raises(Stopped):
            udpft.ping(server.address, stop=stop)
        assert udpft.get(str(LARGE), server=server.address, output=out).resumed_bytes > LARGE / 3
    assert out.read_bytes() == sample(LARGE)


def test_a_word_that_is_no_option_is_an_error_of_the_program(samples: Path) -> None:
    wrong: Any = {"chunksize": 1}
    with pytest.raises(TypeError):
        udpft.get("1", server="127.0.0.1", **wrong)
    with pytest.raises(TypeError):
        udpft.serve(samples, **wrong)


# ----------------------------------------------------------------------------------------- trees


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A folder that is served, with a tree in it."""
    (tmp_path / "served/t/sub").mkdir(parents=True)
    for name in ("a.txt", "b.bak", "sub/c.txt", "sub/d.bak"):
        (tmp_path / "served/t" / name).write_text(name)
    (tmp_path / "served/t/link").symlink_to("a.txt")
    return tmp_path / "served"


def files_in(folder: Path) -> list[str]:
    return sorted(str(one.relative_to(folder)) for one in folder.rglob("*") if not one.is_dir())


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        ({"exclude": "*.bak"}, ["a.txt", "sub/c.txt"]),
        ({"exclude": ["*.bak", "sub/"]}, ["a.txt"]),
        ({"exclude": "*.*", "include": ["d.*"]}, ["sub/d.bak"]),
        ({"rules": ["- d.bak", "+ *.bak"], "exclude": "*.*"}, ["b.bak"]),
    ],
)
def test_patterns_say_what_comes_of_a_tree(
    tree: Path, tmp_path: Path, rules: Any, expected: list[str]
) -> None:
    with udpft.serve(tree, port=0, writable=True) as server:
        udpft.get("t", server=server, output=tmp_path / "out", recursive=True, **rules)
        udpft.put(tree / "t", server=server, as_name="up", recursive=True, **rules)
    assert files_in(tmp_path / "out/t") == files_in(tree / "up") == expected


def test_links_are_copied_and_hidden_names_are_sent_where_that_is_asked_for(
    tree: Path, tmp_path: Path
) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/.env").touch()
    with udpft.serve(tree, port=0, writable=True, hidden=True) as server:
        udpft.get("t", server=server, output=tmp_path / "out", recursive=True, links=True)
        udpft.put(tmp_path / "mine", server=server, recursive=True, hidden=True)
    assert (tmp_path / "out/t/link").readlink() == Path("a.txt")
    assert (tree / "mine/.env").exists()


def test_a_dry_run_tells_and_a_checksum_finds(tree: Path, tmp_path: Path) -> None:
    with udpft.serve(tree, port=0) as server:
        planned = udpft.get(
            "t", server=server, output=tmp_path / "out", recursive=True, dry_run=True
        )
        assert [name for name, _ in planned.tree.listed][:2] == ["t/a.txt", "t/b.bak"]
        assert not (tmp_path / "out").exists()
        udpft.get("t", server=server, output=tmp_path / "out", recursive=True)
        mine = tmp_path / "out/t/a.txt"
        status = mine.stat()
        mine.write_text("A.TXT")
        os.utime(mine, ns=(status.st_atime_ns, status.st_mtime_ns))
        assert udpft.get("t", server=server, output=tmp_path / "out", recursive=True).up_to_date
        with pytest.raises(udpft.errors.DestinationExists):
            udpft.get("t", server=server, output=tmp_path / "out", recursive=True, checksum=True)


def test_options_of_trees_are_refused_for_a_single_file(tree: Path) -> None:
    with pytest.raises(udpft.errors.UsageError, match=r"^links: of trees only$"):
        udpft.get("t/a.txt", server="127.0.0.1", links=True)
    with pytest.raises(udpft.errors.UsageError, match=r"^exclude, hidden: of trees only$"):
        udpft.put(tree / "t/a.txt", server="127.0.0.1", hidden=True, exclude="x", recursive=True)
    nonsense: Any = 7
    for name in ("exclude", "include", "rules"):
        with pytest.raises(udpft.errors.UsageError, match=f"{name} is a pattern, or a list of"):
            udpft.get("t", server="127.0.0.1", recursive=True, **{name: nonsense})


def test_a_get_says_what_it_goes_on_with(samples: Path, tmp_path: Path) -> None:
    stop, resumed = udpft.Stop(), list[tuple[int, int]]()

    def progress(done: int, total: int) -> None:
        if done > total / 3:
            stop.set()

    options: Any = {"output": tmp_path / "out", "on_resume": lambda *now: resumed.append(now)}
    with udpft.serve(samples, port=0, max_rate="6M") as server:
        with pytest.raises(Stopped):
            udpft.get(str(LARGE), server=server, progress=progress, stop=stop, **options)
        assert resumed == []
        result = udpft.get(str(LARGE), server=server, **options)
    assert resumed == [(result.resumed_bytes, LARGE)]


# ---------------------------------------------------------------------------- what a server tells


def test_a_server_tells_of_what_it_refuses_and_of_what_else_there_is(tmp_path: Path) -> None:
    refused, notices = list[udpft.Refused](), list[str]()
    (tmp_path / "served").mkdir()
    (tmp_path / "t").mkdir()
    left = tmp_path / "served/.old.0123456789abcdef.udpft-part"
    left.mkdir()
    os.utime(left, ns=(0, 0))
    with udpft.serve(
        tmp_path / "served",
        port=0,
        writable=True,
        on_refused=refused.append,
        on_notice=notices.append,
    ) as server:
        with pytest.raises(udpft.errors.NoSuchFile):
            udpft.get("missing", server=server, output=tmp_path)
        (tmp_path / "t/a").touch()
        udpft.put(tmp_path / "t", server=server, recursive=True)
    assert [(one.name, one.upload) for one in refused] == [("missing", False)]
    assert notices == [f"{left.name}: removed, for nobody came back for it"]


def test_sizes_are_written_as_people_write_them(server: RunningServer, tmp_path: Path) -> None:
    with pytest.raises(udpft.errors.TooLarge):
        udpft.get("4096", server=server, output=tmp_path, max_size="2K")
    with pytest.raises(udpft.errors.UsageError, match="max_size is a number of bytes"):
        udpft.get("4096", server=server, output=tmp_path, max_size=-1)
