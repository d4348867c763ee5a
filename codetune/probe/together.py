"""Two processes that train as one, tried for every method and family; `codetune.probe` starts this under torchrun.

    torchrun --nproc-per-node 2 -m codetune.probe.together OUT.jsonl llama/lora gpt2/full
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

import torch

from codetune.models.compatibility import Row
from codetune.probe.forms import FORMS
from codetune.probe.probes import begin, run_in
from codetune.probe.subject import IN_FOUR_BITS
from codetune.runs import append_row, read_rows
from codetune.train.loop import train
from codetune.train.parallel import ALONE, Group, joined
from codetune.train.run import METRICS

WAYS: tuple[Literal["ddp", "fsdp"], ...] = ("ddp", "fsdp")
Curve = tuple[list[float], dict[str, torch.Tensor]]  # losses, and the trained weights in the end


def main(out: Path, pairs: Sequence[str]) -> None:
    """One row for each pair of form and method: why a way does not work, "" where it does. Written by the first process."""
    begin()
    with joined("cpu") as group:
        for pair in pairs:
            form, _, method = pair.partition("/")
            row = {way: _tried(form, method, way, group) for way in WAYS}
            if group.leads:
                append_row(out, {"form": form, "method": method, "row": row})


def rows_of(out: Path) -> dict[tuple[str, str], Row]:
    """What `main` wrote, by form and method."""
    return {(row["form"], row["method"]): row["row"] for row in read_rows(out)}


def _tried(form: str, method: str, way: Literal["ddp", "fsdp"], group: Group) -> str:
    """What either process raises is the answer; both raise alike, as both do the same."""
    try:
        together = _curve(form, method, way, group)
    except Exception as error:  # whatever a library raises is why it does not work
        return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}" if type(error).__name__ != "UserError" else str(error)
    if not group.leads:
        return ""
    losses, weights = _curve(form, method, "ddp", ALONE)
    tolerance = 1e-5 if method == IN_FOUR_BITS else 1e-6 if FORMS[form].computes_in_fp32 else 1e-9
    apart = max(abs(one / other - 1) for one, other in zip(together[0], losses, strict=True))
    moved = max(float((together[1][name] - weight).norm() / weight.norm().clamp_min(1e-3)) for name, weight in weights.items())
    if apart < tolerance and moved < 100 * tolerance:
        return ""
    return f"two processes differ from one: by {apart:.0e} in a loss and {moved:.0e} in a weight, where {tolerance:.0e} is rounding"


def _curve(form: str, method: str, way: Literal["ddp", "fsdp"], group: Group) -> Curve:
    """Four steps, in the group or alone."""
    with tempfile.TemporaryDirectory() as folder:
        settings = {"parallel": way, "checkpoint_every_s": 1e9, "micro_batch_size": 1}
        run = replace(run_in(form, method, Path(folder), torch.float64, **settings), group=group)
        run.spread()
        train(run)
        whole = run.whole()
        losses = [row["loss"] for row in read_rows(run.folder / METRICS)]
        return losses, {name: parameter.detach().clone() for name, parameter in whole.trained().items()} if group.leads else {}


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
