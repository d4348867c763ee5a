"""What `test_parallel.py` has two processes do together: every check in one pair of them, as starting torch takes longer than all checks.

    torchrun --nproc-per-node 2 -m tests.train.in_processes FOLDER
"""

from __future__ import annotations

import dataclasses
import json
import signal
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from codetune.config import MethodConfig
from codetune.runs import read_rows
from codetune.train.loop import train
from codetune.train.monitor import validation_loss
from codetune.train.parallel import ALONE, Group, joined
from codetune.train.run import METRICS, Run
from tests.exactness.test_training import DROPOUT, at_step, interrupt, losses, make_run

STEPS = 12
FAMILIES = ("gpt2", "llama")
DTYPES = {"float64": torch.float64, "float32": torch.float32}
METHODS = ("full", "lora", "prefix_tuning", "prompt_tuning")
CELLS = [(family, method, "float64") for family in FAMILIES for method in METHODS] + [("llama", method, "float32") for method in METHODS]
STOPPED_AT = 7


def run_of(
    folder: Path, parallel: str, group: Group = ALONE, family: str = "llama", method: str | MethodConfig = "full", **config: Any
) -> Run:
    """A run of 12 steps, of three rows or so each."""
    run = dataclasses.replace(make_run(folder, family, method, steps=STEPS, parallel=parallel, **config), group=group)
    run.spread()
    return run


def stopped(run: Run) -> None:
    """Train up to a checkpoint in the middle, and no further."""
    run.report = at_step(STOPPED_AT + 1, interrupt)
    with pytest.raises(KeyboardInterrupt):
        train(run)


def curve(run: Run) -> dict[str, Any]:
    """Train, and tell what came of it."""
    frozen = {name: parameter.detach().clone() for name, parameter in run.adapted.frozen().items()}
    held = sum(parameter.to_local().numel() if run.shards else parameter.numel() for parameter in run.adapted.root.parameters())
    progress = train(run)
    whole = run.whole()
    told: dict[str, Any] = {"held": held, "steps": progress.step, "tokens": progress.tokens, "targets": progress.supervised_tokens}
    if run.group.leads:
        told["losses"] = [loss for _, loss in losses(run.folder)]
        told["norms"] = [row["grad_norm"] for row in read_rows(run.folder / METRICS)]
        told["weights"] = {name: parameter.detach().double().flatten().tolist() for name, parameter in whole.trained().items()}
        told["all"] = sum(parameter.numel() for parameter in whole.root.parameters())
        if run.shards is None:
            told["frozen_moved"] = [name for name, parameter in whole.frozen().items() if not torch.equal(parameter, frozen[name])]
    return told


def curves(folder: Path, group: Group, parallel: str) -> dict[str, Any]:
    found = {}
    for family, method, name in CELLS:
        run = run_of(folder / parallel / family / method / name, parallel, group, family, method, dtype=DTYPES[name])
        found[f"{family}/{method}/{name}"] = curve(run)
    return found


def validated(folder: Path, group: Group) -> dict[str, Any]:
    """With rows that two processes cannot share evenly, micro-batches of one, and the best weights kept and put back."""
    found = {}
    for parallel in ("ddp", "fsdp"):
        settings: dict[str, Any] = {"validations": 5, "dtype": torch.float64, "micro_batch_size": 1}
        run = run_of(folder / parallel, parallel, group, "gpt2", "lora", rate=0.1, **settings)
        found[parallel] = curve(run) | {"validation": validation_loss(run)}
    return found


def resumed(folder: Path, group: Group) -> dict[str, Any]:
    """Stopped in two processes and gone on with in two; for sharded runs, what one process left is gone on with in two as well."""
    found = {}
    settings: dict[str, Any] = {"method": DROPOUT, "checkpoint_every_s": 1e9, "validations": 4}
    for parallel in ("ddp", "fsdp"):
        found[f"{parallel}/whole"] = curve(run_of(folder / parallel / "whole", parallel, group, **settings))
        first = run_of(folder / parallel / "stopped", parallel, group, **settings)
        first.report = at_step(STOPPED_AT, signal_one) if group.leads else at_step(0, interrupt)
        with pytest.raises(KeyboardInterrupt):
            train(first)
        found[f"{parallel}/stopped"] = curve(run_of(folder / parallel / "stopped", parallel, group, **settings))
    found["from one"] = curve(run_of(folder / "from-one", "fsdp", group, dtype=torch.float64))
    left = run_of(folder / "from-two", "fsdp", group, dtype=torch.float64)
    left.report = at_step(STOPPED_AT, signal_one)
    with pytest.raises(KeyboardInterrupt):
        train(left)
    return found


def signal_one() -> None:
    """Ctrl-C that reaches the first process alone: the others must end with it, after the same step."""
    signal.raise_signal(signal.SIGINT)


def main(folder: Path) -> None:
    with joined("cpu") as group:
        found: dict[str, Any] = {parallel: curves(folder, group, parallel) for parallel in ("ddp", "fsdp")}
        found["validated"] = validated(folder / "validated", group)
        found["resumed"] = resumed(folder / "resumed", group)
        with group.own_random_numbers():
            found["inside"] = torch.rand(1).item()
        found["outside"] = torch.rand(1).item()
        (folder / f"{group.rank}.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
