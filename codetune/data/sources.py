"""Training data by name or from the user's own file: `load_source("conala", "train")` gives problems with references.

A file may be Alpaca-style (`instruction`, optional `input`, `output`; JSON or JSONL) or in the form of own problems (see `own`).
Alpaca rows whose output is empty are left out, for public copies have some; `task_id`s keep the row's number in the file.
"""

from __future__ import annotations

from pathlib import Path

from codetune.data import basics, conala, leetcode, mbpp, own
from codetune.data.files import Row, find_data, read_rows, require_file
from codetune.errors import UserError, nearest
from codetune.records import Problem

_SPLITS = {"basics": ("train", "validation"), "conala": ("train",), "leetcode": ("train",), "mbpp": ("train", "validation", "examples")}


def load_source(name_or_path: str, split: str = "train", data: Path | None = None) -> tuple[Problem, ...]:
    """The training problems of one split, each with a reference.

    Raises UserError for an unknown source or split, a missing file, a faulty row, and a row without a reference.
    """
    if name_or_path in _SPLITS:
        _require_split(name_or_path, split, _SPLITS[name_or_path])
        return _load_named(name_or_path, split, data)
    path = Path(name_or_path)
    if "/" in name_or_path or path.suffix or path.exists():
        _require_split(name_or_path, split, ("train",))
        return _load_file(require_file(path))
    raise UserError(f"unknown training data {name_or_path!r}; {nearest(name_or_path, _SPLITS)}, or a JSON or JSONL file")


def austin_examples(data: Path | None = None) -> tuple[Problem, ...]:
    """Tasks 2, 3 and 4 of MBPP, the worked examples of its published prompts; `data` is MBPP's file."""
    return tuple(problem for problem in load_source("mbpp", "examples", data) if problem.task_id in mbpp.AUSTIN_EXAMPLES)


def _load_named(name: str, split: str, data: Path | None) -> tuple[Problem, ...]:
    if name == "conala":
        return conala.load_train(find_data(conala.TRAIN_FILE, data))
    if name == "leetcode":
        return leetcode.load(find_data(leetcode.TRAIN_FILE, data))
    if name == "mbpp":
        return mbpp.load_split(find_data(mbpp.FILE, data), split)
    if data is not None:
        raise UserError(f"{name!r} ships with codetune and takes no file, got {data}; leave it out")
    return basics.load(split)


def _load_file(path: Path) -> tuple[Problem, ...]:
    rows = read_rows(path)
    if "output" in rows[0].values:
        pairs = (_alpaca(row, f"{path.stem}/{number}", path.stem) for number, row in enumerate(rows))
        return tuple(pair for pair in pairs if pair.reference.strip())
    problems = own.load(path)
    for row, problem in zip(rows, problems, strict=True):
        if not problem.reference:
            raise row.error("'reference' is missing; training needs the answer")
    return problems


def _alpaca(row: Row, task_id: str, source: str) -> Problem:
    wish, extra = row.text("instruction"), row.text("input", "")
    return Problem(task_id, instruction=wish, input=extra, reference=row.text("output"), source=source)


def _require_split(name: str, split: str, valid: tuple[str, ...]) -> None:
    if split not in valid:
        raise UserError(f"{name!r} has no split {split!r}; {nearest(split, valid)}")
