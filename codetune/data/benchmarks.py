"""Benchmarks by name or from the user's own file: `load("humaneval")` gives the problems and how samples refer to them."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from codetune.data import codexglue, conala, evalplus, folders, humaneval, leetcode, mbpp, odex, own
from codetune.data.files import find_data, require_file, sha256_of
from codetune.errors import UserError, nearest
from codetune.once import once
from codetune.records import Problem, to_json

Kind = Literal["execution", "loads", "text"]


@dataclass(frozen=True, slots=True)
class Benchmark:
    """Problems to be answered, with where they came from.

    `kind` says what counts: `execution` benchmarks have tests and give pass@k, `text` benchmarks only references; of `loads`
    benchmarks it is also known whether an answer's definitions execute, and what their doctests say.
    `file` is the file's name, or "package" for problems that ship with codetune; `sha256` is over the file's bytes, or over
    the problems as JSON. `prefix` is what a bare number in a sample's `task_id` stands for: 11 is "MBPP/11".
    """

    name: str
    kind: Kind
    problems: tuple[Problem, ...]
    file: str
    sha256: str
    prefix: str = ""

    @property
    def executes(self) -> bool:
        """Whether answers are run, which takes a sandbox."""
        return self.kind != "text"

    def task_id(self, given: str | int) -> str:
        """The `task_id` that a sample means, in the benchmark's own form.

        >>> Benchmark("mbpp", "execution", (), "", "", "MBPP/").task_id(11)
        'MBPP/11'
        """
        text = str(given).strip()
        if self.prefix and re.fullmatch(r"[0-9]{1,9}", text):
            return self.prefix + str(int(text))
        return text


@dataclass(frozen=True, slots=True)
class _File:
    """A benchmark that lives in a file of the user's data folder."""

    file: str
    load: Callable[[Path], tuple[Problem, ...]]
    kind: Kind
    prefix: str


_FILES = {
    "humaneval": _File(humaneval.FILE, humaneval.load, "execution", humaneval.PREFIX),
    "mbpp": _File(mbpp.FILE, mbpp.load_test, "execution", mbpp.PREFIX),
    "mbpp-all": _File(mbpp.FILE, mbpp.load, "execution", mbpp.PREFIX),
    "mbpp-sanitized": _File(mbpp.SANITIZED_FILE, mbpp.load, "execution", mbpp.PREFIX),
    "conala": _File(conala.FILE, conala.load, "text", conala.PREFIX),
    "humanevalplus": _File(evalplus.HUMANEVAL_FILE, evalplus.load_humaneval, "execution", evalplus.HUMANEVAL_PREFIX),
    "mbppplus": _File(evalplus.MBPP_FILE, evalplus.load_mbpp, "execution", evalplus.MBPP_PREFIX),
    "odex": _File(odex.FILE, odex.load, "execution", odex.PREFIX),
    "leetcode": _File(leetcode.FILE, leetcode.load, "execution", ""),
    "leetcode-train": _File(leetcode.TRAIN_FILE, leetcode.load, "execution", ""),
    "codexglue-python": _File(codexglue.FILE, codexglue.load, "loads", codexglue.PREFIX),
}
_PACKAGED = {
    "basics": ("known", "unseen"),
    "basics-known": ("known",),
    "basics-unseen": ("unseen",),
    "basics-validation": ("validation",),
}


def names() -> list[str]:
    """All benchmarks that have a name, sorted."""
    return sorted([*_FILES, *_PACKAGED])


@once()
def load(name_or_path: str, data: Path | None = None) -> Benchmark:
    """A benchmark by name, read from `data`, the CODETUNE_DATA folder or the package; or a JSONL file or folder of own problems.

    Raises UserError for an unknown name, a missing file and a faulty row.
    """
    if name_or_path in _FILES:
        entry = _FILES[name_or_path]
        path = find_data(entry.file, data)
        return Benchmark(name_or_path, entry.kind, entry.load(path), path.name, sha256_of(path), entry.prefix)
    if data is not None:
        raise UserError(f"--data {data} goes with a benchmark that is read from a file ({', '.join(_FILES)}), not with {name_or_path!r}")
    if name_or_path in _PACKAGED:
        from codetune.data import basics  # its families take longer than all of the rest

        problems = tuple(problem for split in _PACKAGED[name_or_path] for problem in basics.load(split))
        return Benchmark(name_or_path, "execution", problems, "package", _sha256_of_problems(problems))
    if "/" in name_or_path or Path(name_or_path).suffix or Path(name_or_path).exists():
        return _own(Path(name_or_path))
    raise UserError(f"unknown benchmark {name_or_path!r}; {nearest(name_or_path, names())}, or a file or folder of your own problems")


def _own(path: Path) -> Benchmark:
    if path.is_dir():
        problems = folders.load(path)
        return Benchmark(path.resolve().name, "execution", problems, path.resolve().name, _sha256_of_problems(problems))
    problems = own.load(require_file(path))
    untested = [problem.task_id for problem in problems if not problem.tests]
    if 0 < len(untested) < len(problems):
        raise UserError(f"{path}: {len(untested)} of {len(problems)} problems have no tests, first {untested[0]!r}; give all or none")
    kind: Kind = "text" if untested else "execution"
    unanswered = [problem.task_id for problem in problems if not problem.reference]
    if kind == "text" and unanswered:
        raise UserError(f"{path}: problem {unanswered[0]!r} has neither tests nor a reference; give one, or it cannot be scored")
    return Benchmark(path.stem, kind, problems, path.name, sha256_of(path))


def _sha256_of_problems(problems: tuple[Problem, ...]) -> str:
    rows = json.dumps(to_json(problems), sort_keys=True, default=_stable)
    return hashlib.sha256(rows.encode()).hexdigest()


def _stable(value: object) -> object:
    """Test values that JSON has no form for; a set's own order changes from process to process."""
    return sorted(map(repr, value)) if isinstance(value, set | frozenset) else repr(value)
