"""What kinds of folders codetune writes, how each is known, and which entries in it are codetune's own."""

from __future__ import annotations

from fnmatch import fnmatch
from pathlib import Path
from typing import Literal

from codetune.data.prepared.read import CARD, FORMAT, MANIFEST, OVERLAP_FILE, TOKENS
from codetune.models.stages import ADAPTER, read

Kind = Literal["study", "cell", "run", "trial", "data", "scores"]

CELLS, TRIALS, CHECKPOINT, WORK = "cells", "trials", "checkpoint", ".work"
STUDY, CELL, RECIPE, RESULT, TRAINED, METRICS = "study.json", "cell.json", "config.json", "result.json", "train.json", "metrics.jsonl"
HOLDERS = (CELLS, TRIALS)  # folders of a thing that hold others
_RECIPE_KEYS = {"model", "method", "data", "train"}
_HALF_WRITTEN = (".*.tmp", ".*.old", "*.partial")
_TRACKERS = ("trackers.json", "tensorboard", "wandb", "mlflow", "trackio", "comet_ml", "aim", "clearml", "dvclive", "swanlab")
_SEARCH = ("search.json", "search.db", "search.db-*", TRIALS)
_TRAINING = (TRAINED, METRICS, "samples.jsonl", ADAPTER, CHECKPOINT, "log.txt", *_SEARCH, *_TRACKERS)
_SCORES = (RESULT, "samples-*.jsonl", "scores-*.jsonl")
_CORPUS = ("prepared.json", "tokenizer", "train", "held_out")

# In the order in which they go: what says that a thing is done goes first and what says that it is one goes last, so that a removal that
# was cut short leaves a thing that is not done, which the same command removes.
WRITTEN: dict[Kind, tuple[str, ...]] = {
    "study": (
        "report.html", "report.md", "compare.html", "numbers.csv", "numbers.parquet", "plots", "judgements", "problems-*.jsonl",
        "jobs.json", "searches", CELLS, *_HALF_WRITTEN, ".lock", STUDY,
    ),
    "cell": (*_SCORES, *_TRAINING, "failure.json", "progress.jsonl", *_HALF_WRITTEN, ".lock", RECIPE, CELL),
    "run": (*_TRAINING, *_HALF_WRITTEN, ".lock", RECIPE),
    "trial": (*_TRAINING, *_HALF_WRITTEN, ".lock", RECIPE),
    "data": (
        MANIFEST, TOKENS, "tokens-*", "overlaps-*.json", OVERLAP_FILE, CARD, "*.parquet", *_CORPUS, *_HALF_WRITTEN, ".lock", WORK,
    ),
    "scores": ("samples-*.jsonl", "scores-*.jsonl", *_HALF_WRITTEN, ".lock", RESULT),
}  # fmt: skip


def kind_of(folder: Path) -> Kind | None:
    """The kind of a folder by its records; None where codetune did not write it."""
    if folder.is_symlink() or not folder.is_dir():
        return None
    if folder.parent.name == CELLS and (folder / CELL).is_file():
        return "cell"
    if (folder / CELLS).is_dir() and (read(folder / STUDY) or any((folder / CELLS).glob(f"*/{CELL}"))):
        return "study"
    if read(folder / RECIPE).keys() >= _RECIPE_KEYS:
        return "trial" if folder.parent.name == TRIALS else "run"
    if read(folder / MANIFEST).get("format") == FORMAT or (folder / WORK).is_dir() or (folder / "prepared.json").is_file():
        return "data"
    result = read(folder / RESULT)
    if "benchmarks" in result and "cell" not in result:
        return "scores"
    return None


def own_entries(folder: Path, kind: Kind) -> list[Path]:
    """What codetune wrote right in a folder of this kind, in the order in which it may be removed."""
    entries, found = sorted(folder.iterdir()), dict[Path, None]()
    for pattern in WRITTEN[kind]:
        found |= dict.fromkeys(entry for entry in entries if fnmatch(entry.name, pattern))
    return list(found)


def size_of(path: Path) -> int:
    """Bytes of a file, or of all files under a folder; what links point to does not count."""
    if path.is_symlink() or not path.is_dir():
        return path.lstat().st_size
    return sum(size_of(entry) for entry in path.iterdir())
