"""The checker's side of the candidate: values come by value, everything else is a `Handle` whose operations are requests.

What a test compares is always rebuilt here from plain data; a handle is equal to nothing but itself, so no method of the
candidate's ever decides a comparison.
"""

from __future__ import annotations

import builtins
import socket
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from codetune.sandbox import wire
from codetune.sandbox.packed import split


class CandidateGone(BaseException):
    """The candidate ended, or broke the protocol; no test may swallow it."""


class CandidateExit(BaseException):
    """The candidate raised SystemExit, or another exception that ends a program. Arguments: the exception's type and text."""


class NonPlainResultError(Exception):
    """The candidate gave a value that cannot cross."""


class NotPlainError(Exception):
    """A test handed over an object of its own, which cannot cross by value."""


_MOST_LINES = 1_000_000


class OfCandidate(NamedTuple):
    """What marks an exception as the candidate's own: its type's name there, its text, whether the program did not compile, and else
    where in it the exception was raised, by its own word (0: it does not say)."""

    type_name: str
    text: str
    does_not_compile: bool
    line: int


class Handle:
    """An object that stays in the candidate. Its methods and items can be asked for; `==` is identity, and is noted."""

    __slots__ = ("_link", "_number", "_type_name")
    _link: Link
    _number: int
    _type_name: str

    def __init__(self, link: Link, number: int, type_name: str) -> None:
        object.__setattr__(self, "_link", link)
        object.__setattr__(self, "_number", number)
        object.__setattr__(self, "_type_name", type_name)

    def __eq__(self, other: object) -> bool:
        self._link.compared_handle = True
        return self is other

    __hash__ = object.__hash__

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._link.call(self, args, kwargs)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") and name not in ("__name__", "__doc__", "__dict__"):
            raise AttributeError(name)  # introspection by copy, pickle and the like stays on this side
        return self._link.ask("getattr", self, name)

    def __setattr__(self, name: str, value: Any) -> None:
        self._link.ask("setattr", self, name, value)

    def __getitem__(self, key: Any) -> Any:
        return self._link.ask("getitem", self, key)

    def __setitem__(self, key: Any, value: Any) -> None:
        self._link.ask("setitem", self, key, value)

    def __len__(self) -> int:
        return int(self._link.ask("len", self))

    def __bool__(self) -> bool:
        return bool(self._link.ask("bool", self))

    def __str__(self) -> str:
        return str(self._link.ask("str", self))

    def __repr__(self) -> str:
        return f"<{self._type_name} of the candidate>"

    def __iter__(self) -> Iterator[Any]:
        iterator = self._link.ask("iter", self)
        if not isinstance(iterator, Handle):
            raise TypeError(f"{self._type_name} gave no iterator")
        while True:
            item = self._link.ask("next", iterator)
            if not item:
                return
            yield item[0]

    def __next__(self) -> Any:
        item = self._link.ask("next", self)
        if not item:
            raise StopIteration
        return item[0]


class Link:
    """The connection to one candidate: requests out, values, exceptions and callbacks back."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.gone = False  # set once, for good: whatever the tests say after that does not count
        self.compared_handle = False  # a test compared what is not plain
        self._callables: list[Callable[..., Any]] = []
        self._handles: dict[int, Handle] = {}

    def call(self, function: Handle, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Call in the candidate; lists, dicts and sets among the arguments that it changed are changed here, too."""
        value, changed = self._request(("call", function, args, kwargs))
        if changed is not None:
            if type(changed) is not tuple or len(changed) != 2:
                raise self._broken()
            update_in_place(args, changed[0])
            update_in_place(kwargs, changed[1])
        return value

    def calls(self, function: Any, inputs: bytes, expected: bytes) -> Iterator[bytes | None]:
        """For each of the packed calls in order None where the answer is of the expected bytes, else the answer, for `opened`."""
        wanted = split(expected)
        done = 0
        while done < len(wanted):
            quick = self.request(("calls", function, inputs, done))
            if quick == expected:
                yield from [None] * len(wanted)
                return
            answers = self._parts(quick, len(wanted) - done)
            others = [number for number, answer in enumerate(answers) if answer != wanted[done + number]]
            full = self.request(("answers", others)) if others else []
            if type(full) is not list or len(full) != len(others) or any(type(answer) is not bytes for answer in full):
                raise self._broken()
            found = dict(zip(others, full, strict=True))
            yield from map(found.get, range(len(answers)))
            done += len(answers)

    def _parts(self, data: Any, at_most: int) -> list[bytes]:
        try:
            parts = split(data) if type(data) is bytes else []
        except wire.WireError:
            parts = []
        if not 0 < len(parts) <= at_most:
            raise self._broken()
        return parts

    def opened(self, reply: bytes) -> Any:
        """The value in one of many answers. Raises the exception that the candidate gave instead."""
        try:
            found = wire.loads(reply, self._resolve)
        except wire.WireError:
            raise self._broken() from None
        match found:
            case ("value", value):
                return value
            case ("raise" | "syntax" | "exit" | "nonplain" as kind, str(base), str(name), str(text), int(line)):
                raise self._exception(kind, base, name, text, line)
        raise self._broken()

    def ask(self, operation: str, *operands: Any) -> Any:
        """One operation of the candidate's on a handle."""
        return self._request((operation, *operands))[0]

    def request(self, message: tuple[Any, ...]) -> Any:
        """Send a message that is not about a handle, and give back the answer's value."""
        return self._request(message)[0]

    def _request(self, message: tuple[Any, ...]) -> tuple[Any, Any]:
        self._send(message)
        while True:
            reply = self._receive()
            match reply:
                case ("value", value, changed):
                    return value, changed
                case ("raise" | "syntax" | "exit" | "nonplain" as kind, str(base), str(name), str(text), int(line)):
                    raise self._exception(kind, base, name, text, line)
                case ("callback", int(number), tuple(args), dict(kwargs)) if 0 <= number < len(self._callables):
                    self._answer_callback(self._callables[number], args, kwargs)
                case _:
                    raise self._broken()

    def _answer_callback(self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Run a test's function for the candidate. What it gives must be plain: the candidate may not choose the weak way by asking."""
        try:
            reply: tuple[Any, ...] = ("value", function(*args, **kwargs))
        except Exception as error:
            reply = ("raise", type(error).__name__, str(error)[:500])
        try:
            self._send(reply)
        except NotPlainError as error:
            self._send(("raise", "TypeError", str(error)))

    def _exception(self, kind: str, base: str, name: str, text: str, line: int) -> BaseException:
        """The candidate's exception as one of the same built-in type, marked as its own."""
        if kind == "exit":
            return CandidateExit(name, text)
        if kind == "nonplain":
            return NonPlainResultError(text)
        cls = getattr(builtins, base, None)
        if kind == "syntax" or not (isinstance(cls, type) and issubclass(cls, Exception)):
            cls = SyntaxError if kind == "syntax" else RuntimeError
        try:
            error: Exception = cls(text)
        except TypeError:  # UnicodeDecodeError and its like want more arguments
            error = ValueError(text)
        error.__dict__["of_candidate"] = OfCandidate(name, text, kind == "syntax", line if 0 < line <= _MOST_LINES else 0)
        return error

    def _broken(self) -> CandidateGone:
        self.gone = True
        return CandidateGone()

    def _send(self, message: tuple[Any, ...]) -> None:
        if self.gone:
            raise CandidateGone
        try:
            data = wire.dumps(message, self._export)
        except wire.WireError as error:
            raise NotPlainError(str(error)) from None
        try:
            wire.send(self.sock, data)
        except OSError:
            raise self._broken() from None

    def _receive(self) -> Any:
        try:
            data = wire.receive(self.sock)
            if data is None:
                raise self._broken()
            return wire.loads(data, self._resolve)
        except (OSError, wire.WireError):
            raise self._broken() from None

    def _export(self, value: Any) -> tuple[str, int, str]:
        if type(value) is Handle:
            return "h", value._number, value._type_name
        if callable(value) and not isinstance(value, type):
            self._callables.append(value)
            return "c", len(self._callables) - 1, getattr(value, "__name__", "callable")
        raise NotPlainError(f"a test hands over a {type(value).__name__}")

    def _resolve(self, kind: str, number: int, name: str) -> Any:
        if kind == "c" and number < len(self._callables):
            return self._callables[number]
        if kind != "o":
            raise wire.WireError("unknown reference")
        return self._handles.setdefault(number, Handle(self, number, name))


def update_in_place(old: Any, new: Any) -> None:
    """Give the containers in `old` the contents of `new`, keeping their identity wherever the shapes agree."""
    if type(old) is not type(new):
        return
    if isinstance(old, list):
        if len(old) == len(new):
            old[:] = [_kept(a, b) for a, b in zip(old, new, strict=True)]
        else:
            old[:] = new
    elif isinstance(old, tuple) and len(old) == len(new):
        for a, b in zip(old, new, strict=True):
            update_in_place(a, b)
    elif isinstance(old, dict):
        merged = {key: _kept(old[key], value) if key in old else value for key, value in new.items()}
        old.clear()
        old.update(merged)
    elif isinstance(old, set):
        old.clear()
        old.update(new)


def _kept(old: Any, new: Any) -> Any:
    """The old container with the new contents where that is possible, else the new value."""
    if isinstance(old, list | dict | set) and type(old) is type(new):
        update_in_place(old, new)
        return old
    return new
