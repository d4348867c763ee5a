"""Verdicts kept by content: a program that was judged once on the same tests, in the same way, is not run again.

    with open_checker() as checker:
        scores = score_samples(benchmark, samples, checker)

What is kept is written as it comes, so a run that was killed goes on where it was.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import platform
import sqlite3
import time
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from codetune.records import Integrity, Problem, ProgramResult, Verdict, to_json
from codetune.runs import cache_folder
from codetune.sandbox import Sandbox
from codetune.score.execution import Checker, Job

T = TypeVar("T")
_FORMAT = "2"  # of the rows and of what the sandbox decides; another one makes all that is kept unknown
_DAY_S = 86_400  # how exactly it is kept when a verdict was used last
_KEPT_S = 90 * _DAY_S  # unused for so long a verdict is forgotten
_NOT_KEPT = (Verdict.INFRASTRUCTURE, Verdict.TIMEOUT_WALL)  # another try may end otherwise


@contextlib.contextmanager
def open_checker(
    *, workers: int | None = None, tier: str | None = None, unsafe: bool = False, cache: bool = True,
    meanwhile: Callable[[], None] | None = None,
) -> Iterator[Checker]:  # fmt: skip
    """A sandbox that runs `workers` programs at once (default: one per core), behind the user's cache of verdicts.

    `meanwhile` is called while it starts.
    """
    with Sandbox(workers=workers, tier=tier, unsafe=unsafe, meanwhile=meanwhile or (lambda: None)) as sandbox:
        if not cache:
            yield sandbox
            return
        with contextlib.closing(VerdictCache(sandbox, cache_folder() / "verdicts.sqlite")) as checker:
            yield checker


class VerdictCache:
    """A checker that asks another one only what it does not know. A file that cannot be read or written is done without."""

    def __init__(self, checker: Checker, path: Path) -> None:
        self.checker = checker
        self.found = 0  # jobs whose verdict was known
        self._problems: dict[int, tuple[Problem, str]] = {}
        self._database: sqlite3.Connection | None = None
        with contextlib.suppress(sqlite3.Error, OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._database = sqlite3.connect(path, timeout=60, isolation_level=None)
            self._database.execute("PRAGMA journal_mode=WAL")
            self._database.execute("PRAGMA synchronous=NORMAL")
            self._database.execute("CREATE TABLE IF NOT EXISTS verdict (key BLOB PRIMARY KEY, used REAL, result BLOB) WITHOUT ROWID")
            self._database.execute("DELETE FROM verdict WHERE used < ?", (time.time() - _KEPT_S,))

    @property
    def tier(self) -> str:
        return self.checker.tier

    def check(self, jobs: Iterable[Job]) -> Iterator[ProgramResult]:
        """The result of each job, in order; new ones are kept as they come."""
        return self._known_first([(self._key(program, problem), (program, problem)) for program, problem in jobs], self.checker.check)

    def loads(self, programs: Iterable[str]) -> Iterator[ProgramResult]:
        """For each program whether its definitions execute, in order."""
        machine = [_FORMAT, self.tier, platform.python_version(), "loads"]
        return self._known_first([(_digest([*machine, program]), program) for program in programs], self.checker.loads)

    def _known_first(self, asked: list[tuple[bytes, T]], ask: Callable[[Iterable[T]], Iterator[ProgramResult]]) -> Iterator[ProgramResult]:
        known = {key: result for key, _ in asked if (result := self._look_up(key)) is not None}
        self.found += sum(key in known for key, _ in asked)
        fresh = ask(one for key, one in asked if key not in known)
        for key, _ in asked:
            if key in known:
                yield known[key]
            else:
                result = next(fresh)
                self._keep(key, result)
                yield result

    def close(self) -> None:
        if self._database is not None:
            self._database.close()

    def _key(self, program: str, problem: Problem) -> bytes:
        """A hash of all that a verdict depends on."""
        known = self._problems.get(id(problem))
        if known is None:
            tests = [type(test).__name__ + _canonical([getattr(test, name) for name in test.__slots__]) for test in problem.tests]
            parts = [_FORMAT, self.tier, platform.python_version(), problem.setup, problem.entry_point, problem.prompt]
            parts += [problem.reference_program, repr(problem.timeout_s), *tests]
            known = self._problems[id(problem)] = problem, _digest(parts).hex()
        return _digest([known[1], program])

    def _look_up(self, key: bytes) -> ProgramResult | None:
        if self._database is None:
            return None
        try:
            row = self._database.execute("SELECT result, used FROM verdict WHERE key = ?", (key,)).fetchone()
            if row is None:
                return None
            if time.time() - row[1] > _DAY_S:
                self._database.execute("UPDATE verdict SET used = ? WHERE key = ?", (time.time(), key))
            return _result(json.loads(zlib.decompress(row[0])))
        except (sqlite3.Error, zlib.error, ValueError, TypeError):
            return None

    def _keep(self, key: bytes, result: ProgramResult) -> None:
        if self._database is None or result.verdict in _NOT_KEPT:
            return
        row = zlib.compress(json.dumps(to_json(result)).encode("utf-8", "surrogatepass"), 1)
        with contextlib.suppress(sqlite3.Error):
            self._database.execute("INSERT OR REPLACE INTO verdict VALUES (?, ?, ?)", (key, time.time(), row))


def _result(row: dict[str, Any]) -> ProgramResult:
    return ProgramResult(**{**row, "verdict": Verdict(row["verdict"]), "integrity": Integrity(row["integrity"])})


def _digest(parts: Iterable[str]) -> bytes:
    found = hashlib.sha256()
    for part in parts:
        text = part.encode("utf-8", "surrogatepass")
        found.update(b"%d:" % len(text) + text)
    return found.digest()


def _canonical(value: Any) -> str:
    """A text that is the same for equal values of the same types: a set's own order changes from process to process."""
    if isinstance(value, set | frozenset):
        return f"{type(value).__name__}({sorted(map(_canonical, value))})"
    if isinstance(value, list | tuple):
        return f"{type(value).__name__}({', '.join(map(_canonical, value))})"
    if isinstance(value, dict):
        return f"dict({', '.join(f'{_canonical(key)}: {_canonical(item)}' for key, item in value.items())})"
    return f"{type(value).__name__}({value!r})"
