"""The study's two sides are given the same steps, and a quickstart's stages add up."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench.material import TINY
from bench.quickstart import by_stage, keep_before, make_record
from bench.startup import imported
from bench.study import SYSTEMS, sameness
from bench.study_material import EXAMPLES_PER_STEP, Both, make_both
from codetune.errors import UserError

STAMPS = [
    (2.0, 1, "base", "starting"), (2.0, 2, "lora", "starting"), (5.0, 2, "lora", "training"), (6.0, 1, "base", "answering a"),
    (7.0, 1, "base", "running a"), (8.0, 1, "base", "answering b"), (9.0, 1, "base", "done"), (25.0, 2, "lora", "done"),
]  # fmt: skip


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Both:
    return make_both(TINY, 2, SYSTEMS["defaults"], 2, tmp_path_factory.mktemp("study"))


def test_eight_runs_have_jobs_of_the_study_s_own_steps(both: Both) -> None:
    assert len(both.jobs) == 8
    assert {len(job.steps) for job in both.jobs.values()} == {2}
    assert len({len(ids) for job in both.jobs.values() for ids in job.ids}) == 1  # nothing to pad
    assert {job.tokens for job in both.jobs.values()} == {both.tokens}
    assert all(len(job.ids) == 2 * EXAMPLES_PER_STEP for job in both.jobs.values())
    assert len({json.dumps(job.ids) for job in both.jobs.values()}) == 2  # an order for each seed
    assert len({job.learning_rate for job in both.jobs.values()}) == 4


def test_without_the_same_first_loss_there_is_no_ratio(both: Both) -> None:
    for name in both.jobs:
        folder = both.recipe.folder / "cells" / name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "metrics.jsonl").write_text('{"step": 1, "loss": 2.0}\n{"step": 2, "loss": 1.0}\n')
    assert sameness(both, {name: [2.0, 1.1] for name in both.jobs}) == {"first": 0.0, "any": pytest.approx(0.1)}
    with pytest.raises(UserError, match="the first losses differ"):
        sameness(both, {name: [2.01, 1.0] for name in both.jobs})
    with pytest.raises(UserError, match="2 steps against the peer's 1"):
        sameness(both, {name: [2.0] for name in both.jobs})


def test_stages_last_until_the_next_and_are_compared_with_before(tmp_path: Path) -> None:
    assert by_stage(STAMPS) == {"training": 20.0, "starting": 7.0, "answering": 2.0, "running": 1.0}
    (tmp_path / "stamps").write_text("".join(json.dumps(each) + "\n" for each in [*STAMPS, (30.0, 0, "study", "end")]))
    keep_before(tmp_path / "stamps", {"processor": "a CPU"}, "an old version", tmp_path / "before.json")
    before = json.loads((tmp_path / "before.json").read_text())
    found = make_record(STAMPS, 15.0, [0.1], before, [])
    assert found["rows"][0]["ratio"] == 2.0
    assert "It takes 0.50 of what it took; at most 0.67 was asked for: met." in found["report"]
    assert make_record(STAMPS, 15.0, [0.1], before, ["seeds=3"])["rows"][0]["ratio"] is None
    (tmp_path / "stamps").write_text("".join(json.dumps(each) + "\n" for each in STAMPS))
    with pytest.raises(UserError, match="does not reach the end"):
        keep_before(tmp_path / "stamps", {}, "", tmp_path / "other.json")


def test_imports_are_counted_by_package() -> None:
    cost = imported(["-c", "import json.decoder, email.message"])
    assert cost["all"] >= cost["email"] > 0
