"""The process that holds the tests: it asks the candidate for values, compares them, and alone can say `passed`.

It runs no line of the program. It is confined like the candidate, because tests come from files, too.
"""

from __future__ import annotations

import ast
import itertools
import os
import secrets
import socket
import traceback
from collections.abc import Iterator
from typing import Any

from codetune.sandbox import names, wire
from codetune.sandbox.remote import CandidateExit, CandidateGone, Link, NotPlainError

Report = dict[str, Any]
_TAIL_BYTES = 1 << 14  # of stderr, kept for the record
_DETAIL = 300  # characters


def main(parent: socket.socket, candidate: socket.socket, stdout: int, stderr: int) -> None:
    """Take one job from the parent, run it, report."""
    data = wire.receive(parent)
    if data is None:
        return
    job = wire.loads(data)
    job["stdout"] = stdout
    report = _KINDS[job["kind"]](Link(candidate), job)
    # By now the program has answered or is dead. The head of what it printed, the tail of what it complained.
    report["stdout"] = os.pread(stdout, job["keep_bytes"], 0).decode("utf-8", "replace")
    complaint = max(0, os.fstat(stderr).st_size - _TAIL_BYTES)
    report["stderr"] = os.pread(stderr, _TAIL_BYTES, complaint).decode("utf-8", "replace")
    report["output_bytes"] = os.fstat(stdout).st_size
    wire.send(parent, wire.dumps(report))


def report(verdict: str, detail: str = "", passed: int = 0, run: int = 0) -> Report:
    """What the parent is told; `detail` is one line."""
    return {"verdict": verdict, "detail": " ".join(detail.split())[:_DETAIL], "passed": passed, "run": run, "hint": ""}


def check_values(link: Link, job: Report) -> Report:
    """Call tests and assertions against the candidate, by value. Goes on after a failure; the first one is the verdict."""
    try:
        link.request(("define", job["program"]))
        codes = [job["setup"], *(test for kind, test in job["tests"] if kind == "assert")]
        here, theirs = names.resolve(codes, job["program"], job["reference"], job["prompt"], job["entry_point"])
        given = link.request(("names", theirs))
        # Only what was asked for: an answer that slips in its own `abs` or `all` changes nothing.
        namespace = {"__name__": "tests", **here, **{name: given[name] for name in theirs if name in given}}
        link.used_handle = False  # functions and classes are handles: those do not count
        exec(compile(job["setup"], "<setup>", "exec", dont_inherit=True), namespace)
    except BaseException as error:
        return {**judge(error, job["setup"]), "hint": _hint(error, link)}
    first: Report | None = None
    passed = run = 0
    for kind, test in job["tests"]:
        run += 1
        try:
            _assertion(test, namespace) if kind == "assert" else _call(test, job["entry_point"], namespace)
            if link.gone:  # a test swallowed the news
                raise CandidateGone
            passed += 1
        except BaseException as error:
            first = first or {**judge(error, test if kind == "assert" else ""), "hint": _hint(error, link)}
            if link.gone or isinstance(error, CandidateExit):
                break
    return {**(first or report("passed")), "passed": passed, "run": run}


def _hint(error: BaseException, link: Link) -> str:
    """Why a failure may lie in the by-value way: `test` (an object of the test's own) or `value` (a result that is not plain)."""
    if isinstance(error, CandidateGone | CandidateExit):
        return ""
    return "test" if isinstance(error, NotPlainError) else "value" if link.used_handle else ""


def _assertion(code: str, namespace: dict[str, Any]) -> None:
    exec(compile(code, "<test>", "exec", dont_inherit=True), namespace)


def _call(test: tuple[tuple[Any, ...], Any], entry_point: str, namespace: dict[str, Any]) -> None:
    args, expected = test
    shown = f"{entry_point}{_repr(args) if len(args) != 1 else f'({_repr(args[0])})'}"
    value = eval(compile(entry_point, "<entry point>", "eval", dont_inherit=True), namespace)(*args)
    if not value == expected:
        raise AssertionError(f"{shown} gave {_repr(value)}, expected {_repr(expected)}")


def _repr(value: Any) -> str:
    try:
        text = repr(value)
    except Exception:  # huge integers
        text = f"a {type(value).__name__}"
    return text if len(text) <= 80 else text[:77] + "..."


def judge(error: BaseException, code: str) -> Report:
    """The verdict that an exception means, `code` being the test text it may have come from."""
    own_text = getattr(error, "candidate_text", "")
    name = type(error).__name__
    if isinstance(error, CandidateGone):
        return report("exited", "the program ended before it answered")
    if isinstance(error, CandidateExit):
        return report("exited", f"the program called sys.exit({error})")
    if isinstance(error, NotPlainError):
        return report("failed", str(error))
    if getattr(error, "from_candidate", False):
        if getattr(error, "does_not_compile", False):
            return report("syntax", own_text)
        verdict = "memory" if isinstance(error, MemoryError) else "blocked" if isinstance(error, PermissionError) else "error"
        return report(verdict, own_text if own_text.startswith(name) else f"{name}: {own_text}".removesuffix(": "))
    if isinstance(error, AssertionError):
        return report("failed", _failing(error, code) or str(error))
    if isinstance(error, NameError):
        return report("error", f"{name}: {error}")
    return report("failed", f"{name}: {error} in {_failing(error, code)}".removesuffix(" in "))


def _failing(error: BaseException, code: str) -> str:
    """The text of the statement in `code` that raised."""
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename in ("<test>", "<setup>")]
    if not lines or not code or lines[-1] is None:
        return ""
    inside = (n for n in ast.walk(names.parse(code)) if isinstance(n, ast.stmt) and n.lineno <= lines[-1] <= (n.end_lineno or n.lineno))
    smallest = min(inside, key=lambda n: (n.end_lineno or n.lineno) - n.lineno, default=None)
    return (ast.get_source_segment(code, smallest) or "") if smallest else ""


def check_script(link: Link, job: Report) -> Report:
    """Run as a script; compare what it printed, white space at the ends of lines and of the text apart."""
    try:
        link.request(("script", job["program"], job["stdin"]))
    except BaseException as error:
        return {**judge(error, ""), "run": 1}
    expected = job["expected"]
    if expected is None:
        return report("passed")
    got = os.pread(job["stdout"], job["file_bytes"], 0).decode("utf-8", "replace")
    for number, (ours, theirs) in enumerate(itertools.zip_longest(_lines(expected), _lines(got), fillvalue=None), 1):
        if ours != theirs:
            return report("failed", f"line {number} of stdout is {_repr(theirs)}, expected {_repr(ours)}", run=1)
    return report("passed", passed=1, run=1)


def _lines(text: str) -> Iterator[str]:
    return iter([line.rstrip() for line in text.rstrip().splitlines()])


def check_loads(link: Link, job: Report) -> Report:
    """Whether the definitions run without an error."""
    try:
        link.request(("define", job["program"]))
    except BaseException as error:
        return judge(error, "")
    return report("passed")


def check_in_process(link: Link, job: Report) -> Report:
    """The weak way, for tests that hand objects of their own to the program: all in the candidate, a nonce as the word of success."""
    nonce = secrets.token_hex(16)
    codes = [test for _, test in job["tests"]]
    try:
        if link.request(("in_process", job["program"], job["setup"], codes, nonce)) == (nonce, len(codes)):
            return report("passed", passed=len(codes), run=len(codes))
        return report("failed", "the word of success was wrong", run=len(codes))
    except BaseException as error:
        result = {**judge(error, ""), "run": 1}
        return {**result, "verdict": "failed"} if isinstance(error, AssertionError) else result


_KINDS = {"values": check_values, "script": check_script, "loads": check_loads, "in_process": check_in_process}
