"""Where a run's rows go besides its folder: TensorBoard, W&B, MLflow and the others that accelerate knows, through its classes.

A tracker that fails is left out for the rest of the run, with one line that says so: training never stops for it.
"""

from __future__ import annotations

import contextlib
import importlib.util
import secrets
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml

from codetune.config import TrainRecipe
from codetune.errors import UserError
from codetune.records import Json
from codetune.runs import read_json, write_json

PROJECT = "codetune"  # what a tracker files its runs under
IDENTITY = "trackers.json"
_COLUMNS = ("task_id", "verdict", "completion")


class Trackers:
    """The trackers of one run, started. Rows up to step `sent` have reached them in an earlier process and are not sent again."""

    def __init__(self, started: Sequence[Any] = (), sent: int = 0, warn: Callable[[str], None] = warnings.warn) -> None:
        self._started, self._sent, self._warn = list(started), sent, warn

    def log(self, row: Json) -> None:
        """The numbers of a row of metrics, at its step."""
        numbers = {key: value for key, value in row.items() if key != "step" and isinstance(value, int | float)}
        if row["step"] > self._sent:
            self._each(lambda tracker: tracker.log(numbers, step=row["step"]))

    def log_samples(self, step: int, rows: Sequence[Json]) -> None:
        """Answers with their verdicts, as a table or as text where a tracker takes one of them."""
        if rows and step > self._sent:
            self._each(lambda tracker: _log_samples(tracker, step, rows))

    def finish(self) -> None:
        self._each(lambda tracker: tracker.finish())

    def _each(self, act: Callable[[Any], object]) -> None:
        for tracker in list(self._started):
            if not attempted(tracker.name, lambda tracker=tracker: act(tracker), self._warn):  # type: ignore[misc]
                self._started.remove(tracker)


def require_trackers(names: Sequence[str]) -> None:
    """Raises UserError for a tracker whose package is not installed, before anything is loaded."""
    missing = [name for name in names if importlib.util.find_spec(name) is None]
    if missing:
        packages = " ".join(name.replace("_", "-") for name in missing)
        raise UserError(f"trackers: {', '.join(missing)} not installed: run `pip install {packages}`, or take it out of the recipe")


@contextlib.contextmanager
def open_trackers(recipe: TrainRecipe, folder: Path, sent: int, warn: Callable[[str], None] = warnings.warn) -> Iterator[Trackers]:
    """The recipe's trackers with its settings in them; a run that goes on goes on in the trackers' own runs, too."""
    require_trackers(recipe.trackers)
    path = folder / IDENTITY
    identity: Json = read_json(path) if path.exists() else {"id": secrets.token_hex(8)}
    started: list[Any] = []
    for name in recipe.trackers:
        new = name not in identity
        if attempted(name, lambda name=name, new=new: started.append(_start(name, recipe, folder, identity, new)), warn):  # type: ignore[misc]
            write_json(path, identity)
    trackers = Trackers(started, sent, warn)
    try:
        yield trackers
    finally:
        trackers.finish()


def attempted(name: str, act: Callable[[], object], warn: Callable[[str], None]) -> bool:
    """Whether it worked. What a tracker prints goes to stderr, where narration belongs; what it raises costs it its place."""
    try:
        with contextlib.redirect_stdout(sys.stderr):
            act()
    except Exception as error:  # of whatever kind: a network, a disk, a package's own
        reason = " ".join(str(error).split()) or type(error).__name__
        warn(f"the tracker {name} failed and gets no more of this run ({reason[:200]}); metrics.jsonl has it all")
        return False
    return True


def _start(name: str, recipe: TrainRecipe, folder: Path, identity: Json, new: bool) -> Any:
    """A tracker of accelerate's, begun; `identity` then has under its name what its run is found by."""
    from accelerate import PartialState
    from accelerate.tracking import LOGGER_TYPE_TO_CLASS

    PartialState()  # what accelerate's classes log through
    kind = LOGGER_TYPE_TO_CLASS[name]
    project = recipe.name if name in ("tensorboard", "aim") else PROJECT  # these two take the run's own name
    folders = {"logging_dir": str(folder / name)} if kind.requires_logging_directory else {}
    tracker = kind(project, **folders, **_own_arguments(name, recipe.name, folder, identity))
    tracker.main_process_only = False  # who may speak is decided before: see `finetune`
    tracker.start()
    identity[name] = tracker.tracker.info.run_id if name == "mlflow" else identity["id"]
    if new:
        tracker.store_init_configuration(_flat(recipe.model_dump(mode="json")))
        if name == "tensorboard":  # its table of settings is a plugin's; this is read everywhere
            tracker.log({"recipe": _block(yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False))}, step=0)
    return tracker


def _own_arguments(name: str, run: str, folder: Path, identity: Json) -> Json:
    """What makes a tracker go on with the run that it began. Those not named here begin another one of the same name."""
    match name:
        case "wandb":
            return {"name": run, "id": identity["id"], "resume": "allow", "dir": str(folder)}
        case "mlflow":
            return {"run_name": run, "run_id": identity.get("mlflow")}
        case "trackio":
            return {"name": f"{run}-{identity['id'][:6]}", "resume": "allow"}
        case "swanlab":
            return {"experiment_name": run, "id": identity["id"], "resume": "allow"}
        case "dvclive":
            return {"dir": str(folder / name), "resume": True}
        case "clearml":
            return {"task_name": run}
    return {}


def _log_samples(tracker: Any, step: int, rows: Sequence[Json]) -> None:
    if tracker.name == "wandb":
        tracker.log_table("samples", list(_COLUMNS), [[row[column] for column in _COLUMNS] for row in rows], step=step)
    elif tracker.name == "tensorboard":
        told = "\n\n".join(f"**{row['task_id']}**: {row['verdict']}\n\n{_block(row['completion'])}" for row in rows)
        tracker.log({"samples": told}, step=step)


def _block(text: str) -> str:
    """Markdown that keeps the text as it is, whatever is in it."""
    return "\n".join("    " + line for line in text.splitlines())


def _flat(tree: Json, before: str = "") -> dict[str, bool | int | float | str]:
    """A recipe's values by dotted key, as trackers take them."""
    found: dict[str, bool | int | float | str] = {}
    for key, value in tree.items():
        if isinstance(value, dict):
            found |= _flat(value, f"{before}{key}.")
        else:
            found[before + key] = value if isinstance(value, bool | int | float | str) else "none" if value is None else str(value)
    return found
