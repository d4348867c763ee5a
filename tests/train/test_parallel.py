"""A run in two processes is the run in one: the same losses, gradients and weights, sharded or not, stopped and gone on with or not."""

from __future__ import annotations

import functools
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from codetune.errors import UserError
from codetune.train.group_checkpoints import SHARDS
from codetune.train.launch import refuse_processes
from codetune.train.plan import share_of
from codetune.train.sharded import refuse_what_cannot_be_sharded
from tests.exactness.tiny import adapted_tiny
from tests.forked import Forked
from tests.train.in_processes import CELLS, DTYPES, STEPS, STOPPED_AT, curve, main, run_of, stopped

TOLERANCE = {"float64": 1e-9, "float32": 1e-6}  # relative; a float64 loss is of size 5


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("parallel")


def two(folder: Path) -> None:
    """As `torchrun --standalone --nproc-per-node 2` does it, but that torch is loaded already."""
    elastic_launch(LaunchConfig(1, 1, 2, rdzv_backend="c10d", rdzv_endpoint="localhost:0", start_method="fork"), main)(folder)


@pytest.fixture(scope="module")
def alone(folder: Path) -> Callable[[str, str, str], dict[str, Any]]:
    """What one process makes of a cell, which is asked for once sharded and once not."""
    return functools.cache(
        lambda family, method, dtype: curve(
            run_of(folder / "alone" / family / method / dtype, "ddp", family=family, method=method, dtype=DTYPES[dtype])
        )
    )


@pytest.fixture(scope="module")
def found(folder: Path) -> list[dict[str, Any]]:
    """What two processes, started by torchrun's own agent, report each; one of their runs goes on from what one process left."""
    stopped(run_of(folder / "resumed" / "from-one", "fsdp", dtype=torch.float64, checkpoint_every_s=1e-9))
    done = Forked(two, folder).ended(900)
    assert done.returncode == 0, done.stderr[-4000:]
    return [json.loads((folder / f"{rank}.json").read_text()) for rank in range(2)]


def assert_same_training(one: dict[str, Any], other: dict[str, Any], tolerance: float) -> None:
    assert one["losses"] == pytest.approx(other["losses"], rel=tolerance, abs=tolerance)
    assert one["norms"] == pytest.approx(other["norms"], rel=100 * tolerance)
    assert [one[key] for key in ("steps", "tokens", "targets")] == [other[key] for key in ("steps", "tokens", "targets")]
    assert one["weights"].keys() == other["weights"].keys()


@pytest.mark.parametrize(("family", "method", "dtype"), CELLS)
@pytest.mark.parametrize("parallel", ["ddp", "fsdp"])
def test_two_processes_train_as_one(
    found: list[dict[str, Any]], alone: Callable[[str, str, str], dict[str, Any]], parallel: str, family: str, method: str, dtype: str
) -> None:
    wanted = alone(family, method, dtype)
    first, second = (each[parallel][f"{family}/{method}/{dtype}"] for each in found)
    assert len(wanted["losses"]) == STEPS
    assert len(set(wanted["losses"])) == STEPS
    assert_same_training(first, wanted, TOLERANCE[dtype])
    if dtype == "float64":
        for name, weight in wanted["weights"].items():
            assert first["weights"][name] == pytest.approx(weight, rel=1e-7, abs=1e-9), name
    if parallel == "fsdp":
        assert first["held"] + second["held"] == first["all"]
        assert 0.35 < first["held"] / first["all"] < 0.65
    else:
        assert first["held"] == second["held"] == first["all"]
        assert first["frozen_moved"] == []


@pytest.mark.parametrize("parallel", ["ddp", "fsdp"])
def test_validation_and_the_best_weights_are_those_of_one_process(found: list[dict[str, Any]], parallel: str, tmp_path: Path) -> None:
    settings: dict[str, Any] = {"validations": 5, "dtype": torch.float64, "micro_batch_size": 1}
    wanted = curve(run_of(tmp_path, "ddp", family="gpt2", method="lora", rate=0.1, **settings))
    first, second = (each["validated"][parallel] for each in found)
    assert_same_training(first, wanted, 1e-9)
    for name, weight in wanted["weights"].items():
        assert first["weights"][name] == pytest.approx(weight, rel=1e-6, abs=1e-8), name
    assert first["validation"] == second["validation"]


@pytest.mark.parametrize("parallel", ["ddp", "fsdp"])
def test_a_stopped_run_goes_on_as_if_it_had_not_stopped(found: list[dict[str, Any]], parallel: str, folder: Path) -> None:
    """With dropout, best weights kept, and a Ctrl-C that one process alone was sent. Bit for bit."""
    whole, again = (found[0]["resumed"][f"{parallel}/{kind}"] for kind in ("whole", "stopped"))
    assert again == whole
    assert len(whole["losses"]) == STEPS


def test_what_one_process_left_two_go_on_with(found: list[dict[str, Any]], tmp_path: Path) -> None:
    assert_same_training(found[0]["resumed"]["from one"], curve(run_of(tmp_path, "ddp", dtype=torch.float64)), 1e-9)


def test_what_two_processes_left_one_goes_on_with(found: list[dict[str, Any]], folder: Path, tmp_path: Path) -> None:
    place = folder / "resumed" / "from-two"
    newest = place / "checkpoint" / f"step-{STOPPED_AT:08d}"
    assert {"__0_0.distcp", "__1_0.distcp", ".metadata"} <= {path.name for path in (newest / SHARDS).iterdir()}
    again = run_of(place, "fsdp", dtype=torch.float64)
    seen: list[int] = []
    again.report = lambda progress, steps: seen.append(progress.step)
    assert_same_training(curve(again), curve(run_of(tmp_path, "ddp", dtype=torch.float64)), 1e-9)
    assert seen[0] == STOPPED_AT + 1


@pytest.mark.parametrize("file", ["__1_0.distcp", ".metadata"])
def test_a_damaged_shard_is_named_and_the_checkpoint_before_is_used(file: str, tmp_path: Path) -> None:
    stopped(run_of(tmp_path, "fsdp", dtype=torch.float64, checkpoint_every_s=1e-9))
    newest = max((tmp_path / "checkpoint").glob("step-*"))
    path = newest / SHARDS / file.replace("__1", "__0")
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    again, said, seen = run_of(tmp_path, "fsdp", dtype=torch.float64), list[str](), list[int]()
    again.checkpoints._warn = said.append
    again.report = lambda progress, steps: seen.append(progress.step)
    curve(again)
    assert len(said) == 1
    assert f"{newest} is damaged ({SHARDS}/{path.name} is not as it was written" in said[0]
    assert seen[0] == STOPPED_AT


def test_processes_draw_their_own_numbers_where_they_should_and_the_same_elsewhere(found: list[dict[str, Any]]) -> None:
    assert found[0]["inside"] != found[1]["inside"]
    assert found[0]["outside"] == found[1]["outside"]


@pytest.mark.parametrize("size", [1, 2, 3, 8])
def test_every_row_is_computed_once_and_shares_are_even(size: int) -> None:
    rng = random.Random(0)
    rows = [[(0, 0, rng.randint(10, 100))] for _ in range(40)]
    for count in (1, 2, 7, 40):
        step = rng.sample(range(40), count)
        shares = [share_of(step, rows, rank, size) for rank in range(size)]
        assert sorted(number for share in shares for number in share) == sorted(step)
        lengths = [len(share) for share in shares]
        assert max(lengths) - min(lengths) <= 1
        tokens = [sum(rows[number][0][2] for number in share) for share in shares]
        assert max(tokens) - min(tokens) <= 100  # a row's worth
    assert share_of([5, 6, 7, 8], [[(0, 0, 10 + n)] for n in range(9)], 0, 2) == [8, 5]


@pytest.mark.parametrize(("optimizer", "says"), [("muon", "train.optimizer=muon needs whole tensors"), ("adafactor", "use adam or adamw")])
def test_what_cannot_be_sharded_is_refused(optimizer: str, says: str) -> None:
    adapted, _ = adapted_tiny("llama", "lora")
    with pytest.raises(UserError, match=says):
        refuse_what_cannot_be_sharded(adapted, optimizer)


@pytest.mark.parametrize(
    ("nproc", "gpus", "device", "says"),
    [
        (0, 0, "cpu", "give 1 or more"),
        (3, 2, "cuda", "this machine has 2; give 2 or less"),
        (2, 0, "mps", "Apple's GPU serves one process"),
    ],
)
def test_processes_that_have_no_place_are_refused(nproc: int, gpus: int, device: str, says: str) -> None:
    with pytest.raises(UserError, match=says):
        refuse_processes(nproc, gpus, device)
