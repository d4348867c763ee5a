"""How readable programs are: lint findings per 100 lines and cyclomatic complexity per function, both counted by ruff.

They stand beside the metrics, not among them: they are not in 0..1, less is better, and they say nothing about whether a
program is right. Programs are read, never run.

>>> readability([Written("def f(x):\\n    if x == None:\\n        return 1\\n    return x\\n")], ["lint", "complexity"]).values
{'lint': 25.0, 'complexity': 2.0}
"""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from codetune.errors import UserError
from codetune.score import syntax
from codetune.score.text import syntax_valid

UNITS = {"lint": "findings per 100 lines", "complexity": "per function"}
RULES = ("E", "W", "F", "B", "C4", "N", "RET", "SIM")
# Names of the problem's that a snippet uses, the end of a text that was cut, and a snippet that is an expression are no fault of its.
IGNORED = ("F821", "W292", "B018")
_COMPLEXITY = "C901"
_ARGUMENTS = (
    "check", "--isolated", "--no-cache", "--no-respect-gitignore", "--ignore-noqa", "--exit-zero", "--quiet", "--output-format=json",
    f"--select={','.join((*RULES, _COMPLEXITY))}", f"--ignore={','.join(IGNORED)}", "--line-length=88", "--target-version=py311",
    "--config=lint.mccabe.max-complexity=0",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Written:
    """A program, and the line (from 1) where what the model wrote begins: what stands above is the prompt's."""

    program: str
    first_line: int = 1

    @property
    def num_lines(self) -> int:
        """Lines that the model wrote, blank ones left out."""
        return sum(bool(line.strip()) for line in self.program.split("\n")[self.first_line - 1 :])


@dataclass(frozen=True, slots=True)
class Readability:
    """Values by measure, over the `num_programs` that parse; a measure is absent where they have no line or no function."""

    values: dict[str, float] = field(default_factory=dict)
    signatures: dict[str, str] = field(default_factory=dict)
    num_programs: int = 0


def require_ruff(measures: Sequence[str]) -> None:
    """Raises UserError with the command that installs it, where a measure is wanted and ruff is not there."""
    if measures and importlib.util.find_spec("ruff") is None:
        raise UserError(f"{' and '.join(measures)} need ruff, which is not installed; pip install 'codetune[readability]'")


def readability(programs: Sequence[Written], measures: Sequence[str]) -> Readability:
    """The measures named (keys of `UNITS`): findings on the lines that the model wrote, and McCabe's number of each function."""
    require_ruff(measures)
    # What nests as deep as only runaway programs do could end ruff, which has no limit of its own.
    readable = [each for each in programs if syntax_valid(each.program) and syntax.walk(syntax.parse(each.program))[0]]
    findings = _findings([each.program for each in readable])
    checked = [(each, found) for each, found in zip(readable, findings, strict=True) if not any(map(_is_syntax_error, found))]
    lines = sum(each.num_lines for each, _ in checked)
    faults = sum(_row(one) >= each.first_line for each, found in checked for one in found if one["code"] != _COMPLEXITY)
    functions = [_complexity(one) for _, found in checked for one in found if one["code"] == _COMPLEXITY]
    values = {}
    if lines:
        values["lint"] = 100 * faults / lines
    if functions:
        values["complexity"] = sum(functions) / len(functions)
    chosen = {name: value for name, value in values.items() if name in measures}
    return Readability(chosen, {name: _signature(name) for name in chosen}, len(checked))


def _findings(programs: Sequence[str]) -> list[list[dict[str, Any]]]:
    """What ruff says about each program, all of them in one process."""
    with tempfile.TemporaryDirectory() as folder:
        for number, program in enumerate(programs):
            (Path(folder) / f"{number}.py").write_bytes(program.encode(errors="replace"))
        command = [sys.executable, "-m", "ruff", *_ARGUMENTS, folder]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    found: list[list[dict[str, Any]]] = [[] for _ in programs]
    for one in json.loads(done.stdout):
        found[int(Path(one["filename"]).stem)].append(one)
    return found


def _is_syntax_error(finding: dict[str, Any]) -> bool:
    return finding["code"] in (None, "invalid-syntax")


def _row(finding: dict[str, Any]) -> int:
    row: int = finding["location"]["row"]
    return row


def _complexity(finding: dict[str, Any]) -> int:
    """McCabe's number out of "`f` is too complex (3 > 0)"."""
    return int(re.findall(r"\((\d+) > 0\)", finding["message"])[-1])


def _signature(name: str) -> str:
    from importlib.metadata import version  # scores without it need not wait

    how = f"rules:{','.join(RULES)} but {','.join(IGNORED)}|lines:88|noqa:ignored|of the model's own lines" if name == "lint" else "mccabe"
    return f"{name}|{UNITS[name]}|{how}|programs that parse|ruff-{version('ruff')}"
