"""Jobs that are forked from one process: the same bits as in a process of their own, and each dies alone."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import torch

from codetune.config import StudyRecipe, validate
from codetune.models.names import SHIPPED
from codetune.runs import read_json
from codetune.study.children import GONE, Forked, Nursery
from codetune.study.drive import Running, child_of
from codetune.study.plan import CellConfig, plan_cells
from codetune.train.finetune import finetune

pytestmark = [
    pytest.mark.skipif(not SHIPPED["codetune-base"].is_dir(), reason="the shipped model is not in this checkout"),
    pytest.mark.skipif(not Nursery.possible(), reason="processes are forked on Linux alone"),
]


@pytest.fixture(scope="module")
def nursery() -> Iterator[Nursery]:
    """Its children compute on two threads, which sleep while they wait: other tests run beside this."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_WAIT_POLICY", "passive")
        found = Nursery(2)
    yield found
    found.close()


def cells(folder: Path, train_tokens: int) -> list[CellConfig]:
    """The base row and LoRA."""
    off = dict.fromkeys(("memory", "matrix_rate", "latency", "held_out"), False)
    folder.mkdir(exist_ok=True)
    asked = {"task_id": "0", "instruction": "Write a function `f(a)` that doubles.", "reference": "def f(a):\n    return 2 * a\n"}
    (folder / "asked.jsonl").write_text(json.dumps(asked | {"tests": ["assert f(1) == 2"]}))
    rows = [{"instruction": f"Add {n}.", "output": f"def add(a):\n    return a + {n}\n"} for n in range(20)]
    (folder / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    tree = {
        "name": "small", "models": "codetune-base", "data": {"source": str(folder / "pairs.jsonl"), "validation_examples": 2},
        "methods": ["lora"], "benchmarks": [str(folder / "asked.jsonl")], "decoding": {"max_new_tokens": 2},
        "train": {"train_tokens": train_tokens, "batch_tokens": 200, "max_seq_len": 256, "precision": "bf16", "validations": 0},
        "out": str(folder), "measures": off,
    }  # fmt: skip
    return plan_cells(validate(tree, StudyRecipe, "test"))


def start(nursery: Nursery, cell: CellConfig) -> Forked:
    config = Path(child_of(cell)[-1])
    with (cell.folder / "log.txt").open("a") as log:
        child = nursery.start(config, log)
    assert child is not None
    return child


def test_one_that_nobody_needs_after_all_is_gone_at_once() -> None:
    with Running(2, lambda progress: None, ahead=True) as running:
        assert running._nursery is not None
        process = psutil.Process(running._nursery.pid)
        assert running.all([]) == []
        assert not process.is_running()


def test_a_forked_job_has_the_bits_of_one_alone_and_a_killed_one_hurts_nobody(nursery: Nursery, tmp_path: Path) -> None:
    endless, lora = (cells(tmp_path / name, tokens)[1] for name, tokens in (("endless", 10_000_000), ("short", 600)))
    killed, child = start(nursery, endless), start(nursery, lora)
    next(killed.stdout)  # it trains
    killed.send_signal(signal.SIGKILL)
    said = child.stdout.read()
    assert (killed.wait(), child.wait()) == (-signal.SIGKILL, 0), said + (lora.folder / "log.txt").read_text()
    assert '"stage": "training"' in said
    result = read_json(lora.folder / "result.json")
    assert result["provenance"]["hardware"]["threads"] == 2
    assert 2e8 < result["train"]["peak_memory_bytes"] < 2e9
    assert lora.train is not None
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        finetune(lora.train, tmp_path / "alone")
    finally:
        torch.set_num_threads(before)
    ours, alone = (folder / "adapter" / "adapter_model.safetensors" for folder in (lora.folder, tmp_path / "alone"))
    assert ours.read_bytes() == alone.read_bytes()


def test_a_mistake_is_said_and_a_signal_is_obeyed_from_the_first_moment(nursery: Nursery, tmp_path: Path) -> None:
    wrong, endless = cells(tmp_path, 10_000_000)
    wrong = wrong.model_copy(update={"model": "codetune-bas"})
    child, ended = start(nursery, wrong), start(nursery, endless)
    ended.send_signal(signal.SIGTERM)  # before it has run a line of its own, maybe
    assert "did you mean 'codetune-base'" in child.stdout.read()
    assert (child.wait(), ended.wait()) == (2, 143)
    assert not (endless.folder / "train.json").exists()


def test_children_die_with_their_nursery_which_then_starts_none(nursery: Nursery, tmp_path: Path) -> None:
    """The last test of this nursery."""
    endless = cells(tmp_path, 10_000_000)[1]
    child = start(nursery, endless)
    next(child.stdout)
    [process] = psutil.Process(nursery.pid).children()
    psutil.Process(nursery.pid).kill()
    assert child.wait() == GONE
    assert psutil.wait_procs([process], timeout=30)[1] == []
    with (endless.folder / "log.txt").open("a") as log:
        assert nursery.start(endless.folder / "cell.json", log) is None
