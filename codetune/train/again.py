"""What a run folder holds already: a result, a run to go on with, or another recipe's, which is not thrown away unasked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from codetune.config import CHANGES_NO_RESULT, CHANGES_ROUNDING
from codetune.errors import UserError
from codetune.records import Json
from codetune.runs import read_json, read_rows
from codetune.train.resume import go_back, has_checkpoint
from codetune.train.run import METRICS

_WHERE = frozenset({"out", "trackers", "device", "search"})  # where a run is kept, shown and computed, and how it came to be
_OTHER_STEPS = {"method": {"learning_rate"}, "train": {"max_grad_norm"}}  # what may be changed after a bad step, to make it a good one
_OTHER_IDEAS = {"train": {"on_bad_step", "spike_factor"}}  # or to think better of it


def kept_result(config: Json, result: Path) -> Json | None:
    """The result of a finished run of this recipe; None where there is something to train, from the start or from a checkpoint.

    A run that ended before a bad step may go on with other ideas of what is bad; or with another learning rate, from the checkpoint
    before the last one, as the weights right before a bad step are bad already. Raises UserError where the folder holds a run of
    another recipe.
    """
    folder = result.parent
    state = "finished" if result.exists() else "stopped" if has_checkpoint(folder) else ""
    if not state:
        return None
    before, now = determining(read_json(folder / "config.json")), determining(config)
    if before != now and ended_by_bad_step(folder):
        before, now = _without(before, _OTHER_IDEAS), _without(now, _OTHER_IDEAS)
        if _without(before, _OTHER_STEPS) == _without(now, _OTHER_STEPS):
            if before != now:
                go_back(folder)
            result.unlink(missing_ok=True)
            return None
    differing = sorted(key for key in now if before.get(key) != now[key])
    if differing:
        differ = f"{', '.join(differing)} differ{'s' if len(differing) == 1 else ''}"
        raise UserError(f"{folder} holds a {state} run of another recipe ({differ}): choose another --out, or remove it")
    return dict(read_json(result)) if state == "finished" else None


def ended_by_bad_step(folder: Path) -> bool:
    """Whether the run's last word is a bad step that it was not to pass over."""
    rows = read_rows(folder / METRICS)
    return bool(rows) and not rows[-1].get("bad_step", {"passed_over": True})["passed_over"]


def determining(config: Json) -> Json:
    """A recipe without what changes no result, or its last bits alone: where it is kept and shown, how often it is saved, how its settings
    were found, how many rows are computed at once."""
    samples = set() if config["train"].get("monitor") == "pass_rate" else {"samples"}
    kept = {key: value for key, value in config.items() if key not in _WHERE | samples}
    return _without(kept, {"train": CHANGES_NO_RESULT | CHANGES_ROUNDING, "data": {"root"}})


def _without(config: Json, keys: dict[str, Any]) -> Json:
    """A recipe whose sections lack some keys."""
    return {name: {k: v for k, v in part.items() if k not in keys[name]} if name in keys else part for name, part in config.items()}
