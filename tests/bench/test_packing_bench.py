"""The packing benchmark's own arithmetic: how documents are cut, what is a document, what counts as lost, and the table."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from bench import ours_packing, packing
from bench.ours_packing import cut_offsets, gather
from bench.packing import SYSTEMS, Measurements, functions, make_record, report
from codetune.data.pack import best_fit_decreasing
from tests.forked import Forked, bench


@given(st.lists(st.integers(1, 50), min_size=1), st.integers(1, 12))
def test_documents_are_cut_at_the_end_of_each_row_s_worth(lengths: list[int], row_tokens: int) -> None:
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    wanted = [length - start for length in lengths for start in range(0, length, row_tokens)]
    wanted = [min(row_tokens, left) for left in wanted]
    assert np.diff(cut_offsets(offsets, row_tokens)).tolist() == wanted


def test_gathered_tokens_stand_row_by_row() -> None:
    ids, offsets = np.arange(10, 30, dtype=np.int32), np.array([0, 3, 9, 13, 20])
    rows = best_fit_decreasing(np.diff(offsets), 10)
    assert [[example for example, _, _ in row] for row in rows] == [[3, 0], [1, 2]]
    assert gather(ids, offsets, rows).tolist() == [*range(23, 30), *range(10, 13), *range(13, 19), *range(19, 23)]


def test_functions_and_methods_are_documents() -> None:
    text = "import a\n\ndef f():\n    def inner(): pass\n    return 1\n\nclass C:\n    x = 1\n    async def g(self): ...\n"
    assert functions(text) == ["def f():\n    def inner(): pass\n    return 1\n", "    async def g(self): ...\n"]


def test_one_measurement_of_ours_loses_nothing(tmp_path: Path) -> None:
    np.save(tmp_path / "ids.npy", np.arange(20, dtype=np.int32))
    np.save(tmp_path / "offsets.npy", np.array([0, 3, 20]))
    for how in ("rows", "gathered"):
        found = ours_packing.measure(tmp_path, 8, how)
        assert (found["rows"], found["tokens_lost"]) == (3, 0)
        assert found["cpu_seconds"] >= 0


def test_the_fastest_runs_are_compared_row_length_by_row_length() -> None:
    seconds = dict(zip(SYSTEMS, (1.0, 2.0, 12.0, 20.0, 30.0), strict=True))
    found: Measurements = {
        (row_tokens, name): [
            {"rows": 11, "tokens_lost": 0, "cpu_seconds": slower * seconds[name] * row_tokens / 1024, "versions": {}} for slower in (2, 1)
        ]
        for row_tokens in packing.ROW_TOKENS
        for name in SYSTEMS
    }
    record = make_record({"documents": 600, "tokens": 10_240, "longest": 9}, found, (0.1, 0.2))
    lines = report(record).splitlines()
    assert "| 1,024 | codetune | 11 | 10 | 90.91% | 0 | 600 |  |" in lines
    assert "| 1,024 | TRL, packing function alone | 11 | 10 | 90.91% | 0 | 50 | 12.0x (6.0x) |" in lines
    assert "| 2,048 | TRL pack_dataset, defaults | 11 | 5 | 45.45% | 0 | 10 | 30.0x (15.0x) |" in lines


def test_a_budget_of_nothing_is_refused() -> None:
    done = Forked(bench, "packing", "--tokens", "0").ended()
    assert (done.returncode, done.stderr) == (2, "error: --tokens 0 --repeats 3: both must be at least 1\n")
