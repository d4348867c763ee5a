"""The process that runs the generated program: it answers requests by value and never sees a test.

Nothing here is a guard. The program can rewrite all of it; what it can do to others is up to the kernel (confine.py), and
what it says is only ever data to the checker (remote.py).
"""

from __future__ import annotations

import builtins
import contextlib
import linecache
import operator
import os
import socket
import sys
import threading
import traceback
import types
from collections.abc import Callable, Sequence
from typing import Any

from codetune.sandbox import wire
from codetune.sandbox.packed import join, snapshot, unpack

Message = tuple[Any, ...]
BATCH_BYTES = 8 << 20  # of replies in one message
_OPERATIONS: dict[str, Callable[..., Any]] = {
    "getattr": getattr,
    "setattr": setattr,
    "getitem": operator.getitem,
    "setitem": operator.setitem,
    "len": len,
    "bool": bool,
    "str": str,
    "iter": iter,
    "next": lambda iterator: next(((item,) for item in iterator), ()),
}


class Server:
    """Runs one program and answers the checker's requests about it."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.names: dict[str, Any] = {}
        self.objects: list[Any] = []  # what the checker holds handles of; kept alive, so ids stay theirs
        self.numbers: dict[int, int] = {}
        self.answers: list[tuple[bytes, bytes]] = []  # to the last calls: quick, or full

    def serve(self) -> None:
        """Answer until the checker closes the connection."""
        while (data := wire.receive(self.sock)) is not None:
            wire.send(self.sock, self.answer(data))
            # Values have crossed; a crash later must not lose what was printed.
            with contextlib.suppress(Exception):
                sys.stdout.flush()

    def answer(self, data: bytes) -> bytes:
        """The reply to one request: a value, or what was raised."""
        try:
            return self.handle(wire.loads(data, self.resolve))
        except BaseException as error:
            return wire.dumps(describe(error))

    def handle(self, request: Message) -> bytes:
        operation, *operands = request
        if operation == "call":
            function, args, kwargs = operands
            before = self.state_of((args, kwargs))
            value = function(*args, **kwargs)
            after = self.state_of((args, kwargs))
            return wire.dumps(("value", value, None if before == after else (args, kwargs)), self.export)
        if operation == "calls":
            return self.calls(*operands)
        if operation == "answers":
            return self.full_answers(*operands)
        if operation == "define":
            self.names = define(operands[0], "solution")
            return wire.dumps(("value", None, None))
        if operation == "script":
            run_script(*operands)
            return wire.dumps(("value", None, None))
        if operation == "in_process":
            return wire.dumps(("value", run_in_process(*operands), None))
        if operation == "names":
            found = {name: self.names[name] for name in operands[0] if name in self.names}
            return wire.dumps(("value", found, None), self.export)
        return wire.dumps(("value", _OPERATIONS[operation](*operands), None), self.export)

    def state_of(self, arguments: Any) -> bytes:
        return snapshot(arguments) or wire.dumps(arguments, self.export)

    def calls(self, function: Any, inputs: bytes, first: int) -> bytes:
        """Quick answers to the calls from number `first` on, as many as fit into a message; the checker asks again for the rest."""
        self.answers = []
        size = 0
        for args in unpack(inputs)[first:]:
            quick = full = b""
            try:
                value = function(*args)
                quick = snapshot(value)
                full = b"" if quick else wire.dumps(("value", value), self.export)
            except BaseException as error:
                full = wire.dumps(describe(error))
            self.answers.append((quick, full))
            size += len(quick)
            if size > BATCH_BYTES:
                break
        return wire.dumps(("value", join([quick for quick, _ in self.answers]), None))

    def full_answers(self, numbers: list[int]) -> bytes:
        """Answers of the last calls in the wire format, as they were then."""
        chosen = [self.answers[number] for number in numbers]
        return wire.dumps(("value", [full or wire.dumps(("value", unpack(quick)), self.export) for quick, full in chosen], None))

    def export(self, value: Any) -> tuple[str, int, str]:
        if isinstance(value, Callback):
            return "c", value.number, value.__name__
        number = self.numbers.setdefault(id(value), len(self.objects))
        if number == len(self.objects):
            self.objects.append(value)
        return "o", number, type(value).__name__

    def resolve(self, kind: str, number: int, name: str) -> Any:
        return self.objects[number] if kind == "h" else Callback(self, number, name)


class Callback:
    """A function of the test's, called back in the checker."""

    def __init__(self, server: Server, number: int, name: str) -> None:
        self.server, self.number, self.__name__ = server, number, name

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        sock = self.server.sock
        wire.send(sock, wire.dumps(("callback", self.number, args, kwargs), self.server.export))
        while (data := wire.receive(sock)) is not None:
            kind, *rest = wire.loads(data, self.server.resolve)
            if kind == "value":
                return rest[0]
            if kind == "raise":
                raise getattr(builtins, rest[0], RuntimeError)(rest[1])
            wire.send(sock, self.server.answer(data))  # the test's function calls the program in turn
        os._exit(1)


def define(program: str, name: str) -> dict[str, Any]:
    """Run the program's definitions as a module called `name`; the module's names. Raises what the program raises."""
    module = types.ModuleType(name)
    sys.modules[name] = sys.modules["__main__"] = module
    # inspect.getsource and tracebacks find the text.
    linecache.cache["<program>"] = (len(program), None, program.splitlines(keepends=True), "<program>")
    exec(_compiled(program), module.__dict__)
    return module.__dict__


class _CompileError(Exception):
    """Carries the compiler's word, so that a SyntaxError from a program's own eval() is not taken for it."""


def _compiled(program: str) -> types.CodeType:
    try:
        return compile(program, "<program>", "exec", dont_inherit=True)
    except (SyntaxError, ValueError, RecursionError) as error:  # ValueError: null bytes, surrogates
        raise _CompileError(f"{type(error).__name__}: {error}") from None


def run_script(program: str, stdin: str, arguments: Sequence[str]) -> None:
    """Run as `python program.py ARGUMENTS`, with a text on stdin. A clean `sys.exit()` is a normal end."""
    sys.argv = ["program.py", *arguments]
    source = os.memfd_create("stdin")
    with open(source, "wb", closefd=False) as file:
        file.write(stdin.encode("utf-8", "surrogatepass"))
    os.lseek(source, 0, os.SEEK_SET)
    os.dup2(source, 0)
    os.close(source)
    sys.stdin = open(0, encoding="utf-8", errors="surrogateescape", closefd=False)  # noqa: SIM115 - for the rest of the process
    try:
        define(program, "__main__")
        for thread in threading.enumerate():
            if thread is not threading.current_thread() and not thread.daemon:
                thread.join()
    except BaseException as error:
        if isinstance(error, SystemExit) and error.code in (None, 0):
            return
        _report(error)
        raise
    finally:
        sys.stdout.flush()


def _report(error: BaseException) -> None:
    """On stderr what Python itself would print, without this file's frames."""
    if isinstance(error, SystemExit):
        print(error.code, file=sys.stderr)
        return
    frames = error.__traceback__
    while frames is not None and frames.tb_frame.f_code.co_filename != "<program>":
        frames = frames.tb_next
    if isinstance(error, _CompileError):
        print(error, file=sys.stderr)
    else:
        traceback.print_exception(type(error), error, frames)


def run_in_process(program: str, setup: str, tests: list[str], nonce: str) -> Any:
    """The weak way: program, setup and tests in one namespace. The nonce and the number of tests that held, after the last.

    A program that looks for the nonce on the stack finds it: that is why the result is marked weak.
    """
    names = define(program, "solution")
    exec(compile(setup, "<setup>", "exec", dont_inherit=True), names)
    for test in tests:
        exec(compile(test, "<test>", "exec", dont_inherit=True), names)
    return nonce, len(tests)


def describe(error: BaseException) -> Message:
    """An exception as data: the nearest built-in type's name, the type's own, one line, and where in the program it was raised."""
    base = next(cls.__name__ for cls in type(error).__mro__ if cls.__module__ == "builtins")
    name = str(type(error).__name__)[:100]
    try:
        text = " ".join(str(error).split())[:500]
    except BaseException:
        text = "(no message)"
    if isinstance(error, _CompileError):
        return ("syntax", base, name, text, 0)
    if isinstance(error, wire.WireError):
        return ("nonplain", base, name, f"the result cannot cross by value: {text}", 0)
    if isinstance(error, SystemExit | KeyboardInterrupt | GeneratorExit):
        return ("exit", base, name, text, 0)
    return ("raise", base, name, text, _line(error))


def _line(error: BaseException) -> int:
    """The line of the program that was at work last, 0 for none."""
    frames = traceback.walk_tb(error.__traceback__)
    lines = [line for frame, line in frames if frame.f_code.co_filename == "<program>" and line is not None]
    return lines[-1] if lines else 0
