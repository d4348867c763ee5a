"""CodeContests (Li et al. 2022, AlphaCode): programming contests with correct Python 3 solutions and their tests.

Rows: https://huggingface.co/datasets/deepmind/code_contests; the numbers of languages, sources and difficulties are those of
https://github.com/google-deepmind/code_contests/blob/main/contest_problem.proto as that data set renumbers them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from codetune.data.files import Row
from codetune.data.read import Skipped
from codetune.data.sources.source import Hub, Source, columns_of
from codetune.data_recipe import SourceConfig
from codetune.prompts.extract import parse
from codetune.records import Document, StdioTest

PYTHON_3 = 3  # 0 unknown, 1 Python 2, 2 C++, 3 Python 3, 4 Java
_SITES = ("unknown", "codechef", "codeforces", "hackerearth", "codejam", "atcoder", "aizu")
_DIFFICULTIES = ("", "easy", "medium", "hard", "harder", "hardest", "external", *"ABCDEFGHIJKLMNOPQRSTUV")


def documents(row: Row, config: SourceConfig) -> Iterable[Document | Skipped]:
    """The first solutions that parse, each a document; all of a problem share its group."""
    name, wish = row.text("name"), row.text("description").strip()
    if not wish:
        raise row.error("'description' is empty; there is nothing to ask for")
    solutions = list(_solutions(row, config.max_solutions))
    if not solutions:
        yield Skipped(row.where, "no Python 3 solution that parses")
    site = _SITES[row.whole_number("source", 0)] if row.whole_number("source", 0) in range(len(_SITES)) else "unknown"
    contest, index = row.whole_number("cf_contest_id", 0), row.text("cf_index", "")
    for number, solution in enumerate(solutions):
        yield Document(
            id=f"CodeContests/{site}/{name}/{number}",
            instruction=wish,
            text=solution,
            tests=_tests(row),
            origin=f"https://codeforces.com/problemset/problem/{contest}/{index}" if site == "codeforces" and contest and index else "",
            group=name,
            facts=_facts(row, site),
        )


def _solutions(row: Row, count: int) -> Iterator[str]:
    seen = set[str]()
    for language, solution in columns_of(row, "solutions", ("language", "solution")):
        if language != PYTHON_3 or not isinstance(solution, str) or solution in seen:
            continue
        seen.add(solution)
        if solution.strip() and parse(solution) is not None:
            yield solution
            if (count := count - 1) == 0:
                return


def _tests(row: Row) -> tuple[StdioTest, ...]:
    """The public and the private ones; none where a problem wants files instead of stdin and stdout."""
    if row.text("input_file", "") or row.text("output_file", ""):
        return ()
    pairs = [pair for key in ("public_tests", "private_tests") for pair in columns_of(row, key, ("input", "output"))]
    if not all(isinstance(text, str) for pair in pairs for text in pair):
        raise row.error("a test's 'input' and 'output' must be strings")
    return tuple(StdioTest(str(stdin), str(stdout)) for stdin, stdout in pairs)


def _facts(row: Row, site: str) -> dict[str, Any]:
    difficulty = row.whole_number("difficulty", 0)
    facts: dict[str, Any] = {"site": site}
    if 0 < difficulty < len(_DIFFICULTIES):
        facts["difficulty"] = _DIFFICULTIES[difficulty]
    if rating := row.whole_number("cf_rating", 0):
        facts["rating"] = rating
    return facts


SOURCE = Source(
    "codecontests",
    documents,
    "13 thousand contest problems with correct Python 3 solutions, tests and difficulty",
    wants=(("name", "description", "solutions", "public_tests"),),
    licence="CC BY 4.0",
    schema="https://huggingface.co/datasets/deepmind/code_contests",
    files={name: (f"codecontests/{ours}*", f"code_contests/{ours}*") for name, ours in
           (("train", "train"), ("validation", "valid"), ("test", "test"))},
    hub=Hub("deepmind/code_contests", splits={"validation": "valid"}),
    settings=frozenset({"max_solutions"}),
    columns=(
        "name", "description", "public_tests", "private_tests", "source", "difficulty", "solutions",
        "cf_contest_id", "cf_index", "cf_rating", "input_file", "output_file",
    ),
)  # fmt: skip
