"""Share of a path's capacity that is used: as the committed table says, or it must change."""

from __future__ import annotations

import pytest

from tests.sim.capacity import CELLS, SELECTION, TABLE, Cell, read, render, share

WRITTEN = read(TABLE.read_text())


@pytest.mark.parametrize("cell", SELECTION, ids=str)
def test_what_the_table_says_is_what_comes_of_it(cell: Cell) -> None:
    played = f"{share(cell):.2f}"
    assert played == WRITTEN[cell], "the controller has changed: `make snapshot` shows how"


def test_the_table_is_whole_and_reads_as_it_was_written() -> None:
    assert list(WRITTEN) == CELLS
    assert render(WRITTEN) == TABLE.read_text()
    assert set(SELECTION) <= set(CELLS)


def test_paths_of_40_to_100_ms_are_used_nearly_whole() -> None:
    # Less than this is no difference to be waved through with the table.
    for cell, written in WRITTEN.items():
        if cell.rtt_s in (0.040, 0.100):
            assert float(written) >= 0.7, cell
