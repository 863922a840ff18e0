"""Names: of fetched files here, and of stored ones on the server."""

from __future__ import annotations

from pathlib import Path

import pytest

from udpft.client.names import destination_of, name_on_server
from udpft.errors import UsageError


@pytest.mark.parametrize(
    ("name", "output", "path"),
    [
        ("a.txt", None, "a.txt"),
        ("dir/a.txt", None, "a.txt"),
        ("/dir/a.txt", None, "a.txt"),
        ("../a.txt", None, "a.txt"),
        ("dir/a.txt", "b.txt", "b.txt"),
        ("dir/a.txt", "folder", "folder/a.txt"),
        ("dir/a.txt", "folder/", "folder/a.txt"),
        ("dir/a.txt", "missing/", "missing/a.txt"),
        ("..", "b.txt", "b.txt"),
        ("dir/", "b.txt", "b.txt"),
        (".hidden", None, ".hidden"),
    ],
)
def test_where_a_file_goes(here: Path, name: str, output: str | None, path: str) -> None:
    (here / "folder").mkdir()
    assert Path(destination_of(name, output)) == Path(path)


def test_a_folder_may_be_a_path(here: Path) -> None:
    assert Path(destination_of("dir/a.txt", here)) == here / "a.txt"
    assert Path(destination_of("dir/a.txt", here / "b.txt")) == here / "b.txt"


@pytest.mark.parametrize("name", ["", "dir/", ".", "..", "dir/..", "nul\0"])
def test_names_that_name_no_file(here: Path, name: str) -> None:
    for output in (None, here):
        with pytest.raises(UsageError, match="names no file"):
            destination_of(name, output)


@pytest.mark.parametrize(
    ("path", "as_name", "name"),
    [
        ("a/b.txt", None, "b.txt"),
        ("b.txt", "c.txt", "c.txt"),
        ("b.txt", "folder/", "folder/b.txt"),
        ("a/tree/", None, "tree"),
        ("a/tree/..", None, "a"),
    ],
)
def test_what_a_stored_file_is_called(path: str, as_name: str | None, name: str) -> None:
    assert name_on_server(path, as_name) == name


def test_a_folders_name_is_told_to_be_one() -> None:
    with pytest.raises(UsageError) as told:
        destination_of("photos/2001/", None)
    assert "get -r" in told.value.hint


def test_the_root_has_no_name() -> None:
    with pytest.raises(UsageError, match="names no file"):
        name_on_server("/", None)
