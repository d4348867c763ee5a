"""The process that holds the tests: it asks the candidate for values, compares them, and alone can say `passed`.

It runs no line of the program. It is confined like the candidate, because tests come from files, too; and it judges another
program only where the tests so far can have left nothing behind.
"""

from __future__ import annotations

import ast
import gc
import itertools
import os
import resource
import secrets
import socket
import sys
import traceback
from collections.abc import Iterator
from typing import Any

from codetune.sandbox import names, wire
from codetune.sandbox.harmless import is_harmless
from codetune.sandbox.packed import Calls, join, pack, split, unpack
from codetune.sandbox.remote import CandidateExit, CandidateGone, Link, NonPlainResultError, NotPlainError, OfCandidate

Report = dict[str, Any]
_TAIL_BYTES = 1 << 14  # of stderr, kept for the record
_DETAIL = 300  # characters
_MOST_GROWTH_KB = 1 << 17
READY, SPENT = b"+", b"-"  # after a job: for another one, or not


def main(control: socket.socket) -> None:
    """Judge one program after the other: each comes as descriptors of the parent, of the candidate, and of its stdout and stderr.

    Answers each with one byte, and ends where that is `SPENT`: after tests that may have left something behind.
    """
    gc.enable()
    memory_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    while True:
        _, descriptors, _, _ = socket.recv_fds(control, 1, 4)
        if len(descriptors) != 4:
            return
        parent, candidate, stdout, stderr = descriptors
        modules = len(sys.modules)
        with socket.socket(fileno=parent) as asks, socket.socket(fileno=candidate) as answers:
            clean = judge_one(asks, answers, stdout, stderr)
        os.close(stdout)
        os.close(stderr)
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory_kb > _MOST_GROWTH_KB
        if not clean or grown or len(sys.modules) > modules:
            control.send(SPENT)
            return
        control.send(READY)


def judge_one(parent: socket.socket, candidate: socket.socket, stdout: int, stderr: int) -> bool:
    """Take one job from the parent, run it, report. Whether its tests can have left nothing behind."""
    data = wire.receive(parent)
    if data is None:
        return False
    job = wire.loads(data)
    job["stdout"] = stdout
    report = _KINDS[job["kind"]](Link(candidate), job)
    # By now the program has answered or is dead. The head of what it printed, the tail of what it complained.
    report["stdout"] = os.pread(stdout, job["keep_bytes"], 0).decode("utf-8", "replace")
    complaint = max(0, os.fstat(stderr).st_size - _TAIL_BYTES)
    report["stderr"] = os.pread(stderr, _TAIL_BYTES, complaint).decode("utf-8", "replace")
    is_cut = max(os.fstat(stdout).st_size, os.fstat(stderr).st_size) >= job["file_bytes"]
    report["output_cut_at"] = job["file_bytes"] if is_cut else 0
    wire.send(parent, wire.dumps(report))
    return all(map(is_harmless, [job.get("setup", ""), job.get("prompt", ""), job.get("entry_point", ""), *job.get("asserts", ())]))


def report(verdict: str, detail: str = "", exception: str = "", passed: int = 0, run: int = 0, line: int = 0) -> Report:
    """What the parent is told; `detail` is one line, `exception` the type of the program's exception, `line` where it was raised."""
    detail = " ".join(detail.split())[:_DETAIL]
    known = {"verdict": verdict, "detail": detail, "exception": exception, "line": line}
    return {**known, "passed": passed, "run": run, "hands_object": False}


def check_values(link: Link, job: Report) -> Report:
    """Call tests and assertions against the candidate, by value. Goes on after a failure; the first one is the verdict."""
    try:
        namespace = _namespace(link, job)
        exec(compile(job["setup"], "<setup>", "exec", dont_inherit=True), namespace)
    except BaseException as error:
        return _failure(error, job["setup"], link)
    first: Report | None = None
    passed = run = 0
    try:
        for failed in itertools.chain(_calls(link, job, namespace), _assertions(link, job, namespace)):
            run += 1
            passed += failed is None
            first = first or failed
    except BaseException as error:  # the end of the candidate, or an answer that the protocol does not have there
        run += 1
        first = first or _failure(error, "", link)
    return {**(first or report("passed")), "passed": passed, "run": run}


def _namespace(link: Link, job: Report) -> dict[str, Any]:
    """What the tests see: the program's answers to names that are its to give, the problem's and Python's own to all others."""
    link.request(("define", job["program"]))
    codes = [job["setup"], *job["asserts"]]
    here, theirs = names.resolve(codes, job["program"], job["reference"], job["prompt"], job["entry_point"])
    given = link.request(("names", theirs))
    # Only what was asked for: an answer that slips in its own `abs` or `all` changes nothing.
    return {"__name__": "tests", **here, **{name: given[name] for name in theirs if name in given}}


def _calls(link: Link, job: Report, namespace: dict[str, Any]) -> Iterator[Report | None]:
    """For each call test None where it holds, else the failure. An answer of the expected bytes need not be looked at."""
    if job["calls"] is None:
        return
    calls = Calls(*job["calls"])
    try:
        answers = link.calls(_entry_point(job, namespace), calls.inputs, calls.expected)
    except Exception as error:
        yield from [_failure(error, "", link)] * len(calls.tolerances)
        return
    read: tuple[list[tuple[Any, ...]], list[bytes]] | None = None
    for number, (answer, atol) in enumerate(zip(answers, calls.tolerances, strict=True)):
        if answer is None:
            yield None
            continue
        inputs, outputs = read = read or (unpack(calls.inputs), split(calls.expected))
        yield _answer(link, job["entry_point"], inputs[number], answer, unpack(outputs[number]), atol)


def _answer(link: Link, entry_point: str, args: tuple[Any, ...], answer: bytes, expected: Any, atol: float) -> Report | None:
    """None where the answer agrees with what is expected, else the failure."""
    link.compared_handle = False
    try:
        value = link.opened(answer)
        if not agrees(value, expected, atol):
            shown = f"{entry_point}{_repr(args) if len(args) != 1 else f'({_repr(args[0])})'}"
            raise AssertionError(f"{shown} gave {_repr(value)}, expected {_repr(expected)}")
    except (CandidateGone, CandidateExit):
        raise
    except BaseException as error:
        return _failure(error, "", link)
    return None


def _entry_point(job: Report, namespace: dict[str, Any]) -> Any:
    """What the tests call: a function's name, or an expression as `Solution().twoSum`."""
    return eval(compile(job["entry_point"], "<entry point>", "eval", dont_inherit=True), namespace)


def agrees(value: Any, expected: Any, atol: float) -> bool:
    """Equality; where `atol` is not 0, numbers in sequences of the same type may be off by `atol` + 1e-7 of the expected one (EvalPlus)."""
    if value == expected:
        return True
    if not atol or type(value) is not type(expected):
        return False
    if isinstance(value, list | tuple):
        return len(value) == len(expected) and all(agrees(a, b, atol) for a, b in zip(value, expected, strict=True))
    return isinstance(value, int | float) and abs(value - expected) <= atol + 1e-7 * abs(expected)


def _assertions(link: Link, job: Report, namespace: dict[str, Any]) -> Iterator[Report | None]:
    for code in job["asserts"]:
        link.compared_handle = False
        try:
            exec(compile(code, "<test>", "exec", dont_inherit=True), namespace)
            if link.gone:  # a test swallowed the news
                raise CandidateGone
        except BaseException as error:
            if link.gone:
                raise CandidateGone from None
            if isinstance(error, CandidateExit):
                raise
            yield _failure(error, code, link)
        else:
            yield None


def _failure(error: BaseException, code: str, link: Link) -> Report:
    """The report of a failed test; `hands_object` where it failed because it hands over an object of its own."""
    found = judge(error, code)
    if isinstance(error, CandidateGone | CandidateExit):
        return found
    if found["verdict"] == "wrong_answer" and link.compared_handle:
        found["verdict"] = "nonplain"
    return {**found, "hands_object": isinstance(error, NotPlainError)}


def _repr(value: Any) -> str:
    try:
        text = repr(value)
    except Exception:  # huge integers
        text = f"a {type(value).__name__}"
    return text if len(text) <= 80 else text[:77] + "..."


def judge(error: BaseException, code: str) -> Report:
    """The verdict that an exception means, `code` being the test text it may have come from."""
    own: OfCandidate | None = getattr(error, "of_candidate", None)
    if isinstance(error, CandidateGone):
        return report("killed", "the program ended before it answered")
    if isinstance(error, CandidateExit):
        return report("exception", f"{error.args[0]}: {error.args[1]}".removesuffix(": "), error.args[0])
    if isinstance(error, NonPlainResultError):
        return report("nonplain", str(error))
    if isinstance(error, NotPlainError):
        return report("wrong_answer", str(error))
    if own is not None:
        if own.does_not_compile:
            return report("syntax_error", own.text)
        verdict = "memory" if isinstance(error, MemoryError) else "exception"
        return report(verdict, f"{own.type_name}: {own.text}".removesuffix(": "), own.type_name, line=own.line)
    if isinstance(error, AssertionError):
        return report("wrong_answer", _failing(error, code) or str(error))
    name = type(error).__name__
    if isinstance(error, NameError):
        return report("exception", f"{name}: {error}", name)
    return report("wrong_answer", f"{name}: {error} in {_failing(error, code)}".removesuffix(" in "))


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
        link.request(("script", job["program"], job["stdin"], job["arguments"]))
    except BaseException as error:
        return {**judge(error, ""), "run": 1}
    expected = job["expected"]
    if expected is None:
        return report("passed")
    got = os.pread(job["stdout"], job["file_bytes"], 0).decode("utf-8", "replace")
    for number, (ours, theirs) in enumerate(itertools.zip_longest(_lines(expected), _lines(got), fillvalue=None), 1):
        if ours != theirs:
            return report("wrong_answer", f"line {number} of stdout is {_repr(theirs)}, expected {_repr(ours)}", run=1)
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


def give_outputs(link: Link, job: Report) -> Report:
    """What a trusted program gives for each input: `outputs` of the report, packed, with whether it is floats alone; as many as
    fit, or until one is no plain value."""
    outputs: list[tuple[bytes, bool]] = []
    size = 0
    found = report("passed")
    try:
        namespace = _namespace(link, {**job, "setup": "", "asserts": []})
        unlike_any = join([b"?"] * job["count"])
        for answer in link.calls(_entry_point(job, namespace), job["inputs"], unlike_any):
            value = link.opened(answer or b"")
            outputs.append((pack(value), _is_floats(value)))
            size += len(outputs[-1][0])
            if size > wire.MAX_BYTES // 4:
                break
    except wire.WireError as error:
        found = report("nonplain", str(error))
    except BaseException as error:
        found = judge(error, "")
    return {**found, "outputs": outputs}


def _is_floats(value: Any) -> bool:
    """A float, or a sequence of nothing else: EvalPlus then never asks for equality."""
    return isinstance(value, float) or (isinstance(value, list | tuple) and bool(value) and all(isinstance(item, float) for item in value))


def check_in_process(link: Link, job: Report) -> Report:
    """The weak way, for tests that hand objects of their own to the program: all in the candidate, a nonce as the word of success."""
    nonce = secrets.token_hex(16)
    codes = job["asserts"]
    try:
        if link.request(("in_process", job["program"], job["setup"], codes, nonce)) == (nonce, len(codes)):
            return report("passed", passed=len(codes), run=len(codes))
        return report("wrong_answer", "the word of success was wrong", run=len(codes))
    except BaseException as error:
        result = {**judge(error, ""), "run": 1}
        return {**result, "verdict": "wrong_answer"} if isinstance(error, AssertionError) else result


_KINDS = {
    "values": check_values, "script": check_script, "loads": check_loads, "outputs": give_outputs, "in_process": check_in_process,
}  # fmt: skip
