"""The flags that say how programs are run, and the way to give a command its flags by a dataclass."""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import typer

from codetune.sandbox import Sandbox
from codetune.score.execution import Checker
from codetune.score.verdicts import open_checker

Tier = Literal["T2", "T1"]


@dataclass(frozen=True, slots=True)
class TierFlags:
    """How well programs are walled off; each field is a flag."""

    sandbox: Annotated[Tier | None, typer.Option(help="T2 (bubblewrap) or T1. Default: the best that this machine offers.")] = None
    unsafe_no_sandbox: Annotated[
        bool, typer.Option("--unsafe-no-sandbox", help="Run programs unprotected where there is no sandbox. Scores then say so.")
    ] = False

    def sandbox_of(self, workers: int) -> Sandbox:
        """The sandbox that the flags ask for, to be entered."""
        return Sandbox(workers, tier=self.sandbox, unsafe=self.unsafe_no_sandbox)


@dataclass(frozen=True, slots=True)
class SandboxFlags(TierFlags):
    """How programs are run; each field is a flag."""

    workers: Annotated[int | None, typer.Option(min=1, help="Programs run at once. Default: one per core.")] = None
    no_cache: Annotated[bool, typer.Option("--no-cache", help="Run every program, also those whose verdict is known.")] = False

    def open(self, meanwhile: Callable[[], None] | None = None) -> AbstractContextManager[Checker]:
        """The sandbox that the flags ask for; `meanwhile` is called while it starts. Raises UserError where there is none."""
        return open_checker(
            workers=self.workers, tier=self.sandbox, unsafe=self.unsafe_no_sandbox, cache=not self.no_cache, meanwhile=meanwhile,
        )  # fmt: skip


def takes_flags(command: Callable[..., None]) -> Callable[..., None]:
    """The command with a flag for each field of its parameters that are dataclasses: Typer knows functions alone."""

    @functools.wraps(command)
    def flat(**given: Any) -> None:
        for name, (flags, fields) in groups.items():
            given[name] = flags(**{field: given.pop(field) for field in fields})
        command(**given)

    groups: dict[str, tuple[type, list[str]]] = {}
    parameters: list[inspect.Parameter] = []
    for one in inspect.signature(command, eval_str=True).parameters.values():
        if dataclasses.is_dataclass(one.annotation) and isinstance(one.annotation, type):
            fields = inspect.signature(one.annotation, eval_str=True).parameters
            groups[one.name] = one.annotation, list(fields)
            parameters += fields.values()
        else:
            parameters.append(one)
    parameters = [one.replace(kind=inspect.Parameter.KEYWORD_ONLY) for one in parameters]
    flat.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    flat.__annotations__ = {one.name: one.annotation for one in parameters}
    return flat
