"""One training run in a process of its own, to be killed, stopped, starved of disk space and started again.

    python -m tests.exactness.tortured FOLDER METHOD STEPS

Checkpoints are written after every step and best weights after most, so about half of all moments are inside of a write. What is
left at the end is `final.pt`: the kept weights, bit for bit, and the progress but for the seconds that it took.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from codetune.config import LoraConfig, MethodConfig
from codetune.errors import TERMINATED, Terminated, UserError, terminate_in_order
from codetune.train.checkpoints import read_state, write_state
from codetune.train.loop import train
from tests.exactness.test_training import make_run, weights

METHODS: dict[str, str | MethodConfig] = {
    "full": "full",
    "lora": LoraConfig(lora_rank=3, lora_dropout=0.3),  # draws random numbers
    "prefix_tuning": "prefix_tuning",
}
FINAL = "final.pt"


def tortured(folder: Path, method: str, steps: int, say: Callable[[str], object] = print) -> int:
    """Train to the end, from wherever the folder stands; the exit code is that of the `codetune` command."""
    terminate_in_order()
    settings: dict[str, Any] = {"validations": steps, "checkpoint_every_s": 1e-9, "keep": "best"}
    try:
        run = make_run(folder, method=METHODS[method], steps=steps, **settings)
        run.warn = say
        progress = train(run)
        whole = folder / f".{FINAL}"
        write_state(whole, {"weights": weights(run), "progress": dataclasses.asdict(progress) | {"seconds": 0.0}})
        whole.rename(folder / FINAL)
    except (UserError, OSError) as error:
        say(str(error))
        return 2
    except KeyboardInterrupt:
        return 130
    except Terminated:
        return TERMINATED
    return 0


def final(folder: Path) -> Any:
    return read_state(folder / FINAL)


def same(one: Any, other: Any) -> bool:
    """Weights to the last bit, and all else."""
    equal = [torch.equal(weight, other["weights"][name]) for name, weight in one["weights"].items()]
    return all(equal) and one["weights"].keys() == other["weights"].keys() and one["progress"] == other["progress"]


if __name__ == "__main__":
    sys.exit(tortured(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])))
