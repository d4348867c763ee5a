"""What has a name: training sources and benchmarks, where their files are looked for, and under which licence they come."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from codetune.data import codexglue, conala, evalplus, humaneval, leetcode, mbpp, odex
from codetune.data.files import DATA_VARIABLE
from codetune.data.sources.registry import FORMS, SOURCES

PACKAGE = "package"  # ships with codetune


@dataclass(frozen=True, slots=True)
class Entry:
    """A named data set. `files` lie in the folder that CODETUNE_DATA names; empty for what ships with codetune.

    Those of training sources may be patterns; where there are `or_files`, these do as well.
    """

    name: str
    use: str
    files: tuple[str, ...]
    licence: str
    content: str
    or_files: tuple[str, ...] = ()
    hub: str = ""  # its repository on the Hugging Face hub

    def found(self) -> str:
        """Where it is: "package", the folder of its files, or an empty string where one of them is missing."""
        if not self.files:
            return PACKAGE
        folder = os.environ.get(DATA_VARIABLE)
        places = [_place(Path(folder), file) for file in self.files] if folder else []
        others = [place for file in self.or_files if folder and (place := _place(Path(folder), file))]
        return places[0] if places and all(places) else next(iter(others), "")


def _place(folder: Path, pattern: str) -> str:
    """The folder of what matches, "" where nothing does."""
    match = next(folder.glob(pattern), None)
    return "" if match is None else str(match if match.is_dir() else match.parent)


def _training() -> list[Entry]:
    """The sources that have a name of their own; forms of the user's own files are none."""
    entries = []
    for source in SOURCES.values():
        if source.name in FORMS or source.only_test or not source.files:
            continue
        first, *others = source.files["train"] or ("",)
        hub = source.hub.repository if source.hub else ""
        files = (first,) if first else ()
        licence = source.licence or "per origin"
        entries.append(Entry(source.name, "training", files, licence, source.content, tuple(others), hub))
    return sorted(entries, key=lambda entry: entry.name)


ENTRIES = (
    *_training(),
    Entry("corpus", "training", (), "MIT, BSD, Apache, PSF", "the Python that is installed here; `data prepare` makes it"),
    Entry("basics-known", "benchmark", (), "Apache-2.0", "300 problems of the training's families"),
    Entry("basics-unseen", "benchmark", (), "Apache-2.0", "300 problems of families that training never sees"),
    Entry("basics", "benchmark", (), "Apache-2.0", "both of these"),
    Entry("basics-validation", "benchmark", (), "Apache-2.0", "300 problems to choose settings by"),
    Entry("humaneval", "benchmark", (humaneval.FILE,), "MIT", "164 functions to complete"),
    Entry("mbpp", "benchmark", (mbpp.FILE,), "CC BY 4.0", "the 500 test tasks, ids 11-510"),
    Entry("mbpp-all", "benchmark", (mbpp.FILE,), "CC BY 4.0", "all 974 tasks"),
    Entry("mbpp-sanitized", "benchmark", (mbpp.SANITIZED_FILE,), "CC BY 4.0", "427 tasks that were looked through by hand"),
    Entry("humanevalplus", "benchmark", (evalplus.HUMANEVAL_FILE,), "Apache-2.0", "the tasks of humaneval with many more inputs"),
    Entry("mbppplus", "benchmark", (evalplus.MBPP_FILE,), "Apache-2.0", "378 tasks of mbpp with many more inputs"),
    Entry("odex", "benchmark", (odex.FILE,), "CC BY-SA 4.0", "327 of 439 wishes with tests: those for the standard library alone"),
    Entry("leetcode", "benchmark", (leetcode.FILE,), "MIT", "228 problems from after July 2024"),
    Entry("leetcode-train", "benchmark", (leetcode.TRAIN_FILE,), "MIT", "1,570 earlier ones, which are there to train on"),
    Entry("codexglue-python", "benchmark", (codexglue.FILE,), "per origin", "docstrings to functions: loads, doctests and text metrics"),
    Entry("conala", "benchmark", (conala.FILE,), "CC BY-SA", "500 wishes, judged by text metrics"),
)

# What training data is compared with where nobody says: every problem that is there to test with, once. Other sets hold the same ones, and
# some of them also problems that are there to tune on (MBPP+, MBPP sanitized).
TEST_SETS = ("humaneval", "mbpp", "conala", "odex", "leetcode", "codexglue-python", "basics-known", "basics-unseen")
