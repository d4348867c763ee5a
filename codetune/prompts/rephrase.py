"""The same request in other words, by rules alone: how far a model holds on to the words that it was tuned with.

`rephrased` says a problem's wish anew and leaves the template as it is; `Reworded` is a template whose own words are others ("### Task:" in
place of "### Instruction:") and leaves the wish as it is. No name, number, quoted text or code is ever touched, no sentence moves, and
nothing is drawn: the same problem is always asked in the same other words.
"""

from __future__ import annotations

import ast
import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from codetune.prompts.rendered import Rendered
from codetune.prompts.template import Template
from codetune.records import Problem

_A_FUNCTION = ("Implement a Python function", "Please write a Python function", "Create a Python function", "Give me a Python function")
_VERB = ("Implement", "Write", "Create", "Provide")
_LEADS = ("Please solve this in Python: ", "Here is what the Python code has to do: ", "I would like Python code for this: ")
_DOCSTRING_LEADS = ("Complete this function. ", "This function is to be implemented. ", "Please write the body of this function. ")
_DO = r"(?:please )?(?:write|implement|create|define|develop|make|provide|build)"
_NAMED = r"`[^`\n]+`"

# How wishes begin, and what is said in its place; `that` after it becomes `which`. The first that fits is taken.
_OPENINGS: tuple[tuple[re.Pattern[str], Sequence[str]], ...] = (
    (re.compile(rf"{_DO} a (?:python )?function (?:named|called) (?={_NAMED})", re.I), tuple(f"{each} called " for each in _A_FUNCTION)),
    (re.compile(rf"{_DO} a (?:python )?function (?=to |that |which |for |{_NAMED})", re.I), tuple(f"{each} " for each in _A_FUNCTION)),
    (re.compile(rf"{_DO} (?={_NAMED}(?:, a function| in python: a function))", re.I), tuple(f"{each} " for each in _VERB)),
    (re.compile(rf"i (?:need|want) a (?:python )?function (?=to |that |which |{_NAMED})", re.I), tuple(f"{each} " for each in _A_FUNCTION)),
)  # fmt: skip
_THAT = re.compile(rf"^((?:{_NAMED}|[^`\"'.;:]){{0,80}}?)\bthat (?=[a-z]+s\b)")

# Of each style, words before and after the wish, and what stands in their place.
_ALPACA = "Below is an instruction that describes a task"
_ALPACA_OTHER = "The instruction below describes a task"
_FRAMES: dict[str, tuple[dict[str, str], dict[str, str]]] = {
    "instruction": ({"### Instruction:\n": "### Task:\n"}, {"### Response:\n": "### Solution:\n"}),
    "alpaca": ({_ALPACA: _ALPACA_OTHER}, {"### Response:\n": "### Solution:\n"}),
    "docstring": ({"Prompt: ": "Request: "}, {"\nCode:\n": "\nProgram:\n"}),
    "austin": (
        {"You are an expert Python programmer, and here is your task: ": "You are an experienced Python programmer. Your task is this: "},
        {},
    ),
}  # fmt: skip


def rephrased(problem: Problem) -> Problem | None:
    """The problem with its wish in other words; None where it has no words of which a rule knows others.

    >>> rephrased(Problem("1", "Write a function `f(xs)` that returns the 2 largest.")).instruction
    'Implement a Python function `f(xs)` which returns the 2 largest.'
    """
    if problem.instruction:
        return replace(problem, instruction=_anew(problem.instruction, problem.task_id))
    prompt = _with_lead(problem.prompt, _chosen(_DOCSTRING_LEADS, problem.task_id))
    return None if prompt is None else replace(problem, prompt=prompt)


@dataclass(frozen=True, slots=True)
class Reworded(Template):
    """A template that asks in other words than the one that a model was tuned with; worked examples are shown in the same ones."""

    @classmethod
    def of(cls, template: Template) -> Reworded | None:
        """None for a style that has no words of its own (`completion`, `incoder`), or the model's (`chat`)."""
        if _style(template) not in _FRAMES:
            return None
        return cls(template.style, template.chat_template, template.examples, template.bos_token, template.eos_token)

    def _one(self, problem: Problem) -> Rendered:
        plain = Template._one(self, problem)
        before, after = _FRAMES[_style(self)]
        prompt = plain.prompt
        for old, new in before.items():
            prompt = new + prompt.removeprefix(old) if prompt.startswith(old) else prompt
        for old, new in after.items():
            prompt = prompt.removesuffix(old) + new if prompt.endswith(old) else prompt
        return Rendered.pair(prompt, plain.completion)


def _style(template: Template) -> str:
    return "austin" if template.style.startswith("austin") else template.style


def _anew(wish: str, task_id: str) -> str:
    for opening, others in _OPENINGS:
        if found := opening.match(wish):
            rest = _THAT.sub(r"\1which ", wish[found.end() :], count=1)
            return _chosen([other for other in others if other.lower() != found[0].lower()], task_id) + rest
    return _chosen(_LEADS, task_id) + wish


def _chosen(among: Sequence[str], task_id: str) -> str:
    """Always the same for a task, whatever else is asked."""
    return among[hashlib.sha256(task_id.encode()).digest()[0] % len(among)]


def _with_lead(code: str, lead: str) -> str | None:
    """Code with a sentence at the beginning of its last function's docstring; None where that has none, or is all examples."""
    tree = next((tree for end in ("", "pass", "None") if (tree := _parsed(code + end)) is not None), None)
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)] if tree else []
    if not functions:
        return None
    first = max(functions, key=lambda node: node.lineno).body[0]
    if not (isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str)):
        return None
    at = sum(map(len, code.splitlines(keepends=True)[: first.lineno - 1])) + first.col_offset
    opened = re.match(r"[rRuU]?(\"\"\"|'''|\"|')\s*(?=[^\s>\"'])", code[at:])
    return code[: at + opened.end()] + lead + code[at + opened.end() :] if opened else None


def _parsed(code: str) -> ast.Module | None:
    try:
        return ast.parse(code)
    except (SyntaxError, ValueError):
        return None
