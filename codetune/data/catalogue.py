"""What has a name: training sources and benchmarks, where their files are looked for, and under which licence they come."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from codetune.data import codexglue, conala, evalplus, humaneval, leetcode, mbpp, odex
from codetune.data.files import DATA_VARIABLE

PACKAGE = "package"  # ships with codetune


@dataclass(frozen=True, slots=True)
class Entry:
    """A named data set. `files` lie in the folder that CODETUNE_DATA names; empty for what ships with codetune."""

    name: str
    use: str
    files: tuple[str, ...]
    licence: str
    content: str

    def found(self) -> str:
        """Where it is: "package", the folder of its files, or an empty string where one of them is missing."""
        if not self.files:
            return PACKAGE
        folder = os.environ.get(DATA_VARIABLE)
        if not folder or not all((Path(folder) / file).is_file() for file in self.files):
            return ""
        return str((Path(folder) / self.files[0]).parent)


ENTRIES = (
    Entry("basics", "training", (), "Apache-2.0", "4,800 small functions of 79 families, each with tests"),
    Entry("conala", "training", (conala.TRAIN_FILE,), "CC BY-SA", "2,379 wishes from Stack Overflow with a line or two of Python"),
    Entry("mbpp", "training", (mbpp.FILE,), "CC BY 4.0", "374 of the 974 tasks, ids 601-974"),
    Entry("leetcode", "training", (leetcode.TRAIN_FILE,), "MIT", "1,570 problems with solutions"),
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
