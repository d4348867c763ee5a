"""What a family of `basics` problems is: a name and all its variants, one per choice of parameters.

A variant is one *semantic* choice (a separator, a threshold, a predicate): two variants of a family want different
code. Phrasings and function names are drawn later by the seeded generator in `splits.py`, so the variants of the test
splits are never trained on, whatever their wording.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Variant:
    """One parameter choice of a family.

    `wishes` are phrasings that follow "a function `name(args)` that ...": third person, no final full stop
    ("returns the number of vowels in the string"). `body` is the function's body, indented by four spaces, lines
    joined by a newline. `inputs` are argument tuples, literals only, the edge case first; the expected outputs
    are computed from the reference.
    """

    names: tuple[str, ...]
    args: str
    wishes: tuple[str, ...]
    body: str
    inputs: tuple[tuple[Any, ...], ...]
    imports: str = ""

    @property
    def arity(self) -> int:
        return len(self.args.split(",")) if self.args else 0

    def reference(self, name: str) -> str:
        """The whole program, under the given function name."""
        head = f"{self.imports}\n\n\n" if self.imports else ""
        return f"{head}def {name}({self.args}):\n{self.body}\n"


Variants = Callable[[], Iterable[Variant]]


@dataclass(frozen=True, slots=True)
class Family:
    """A group of alike problems. `unseen` families never appear in training or validation."""

    name: str
    variants: Variants
    unseen: bool = False


def family(name: str, registry: list[Family], unseen: bool = False) -> Callable[[Variants], Variants]:
    """Decorator: put a generator of variants into a file's `FAMILIES` list."""

    def register(variants: Variants) -> Variants:
        registry.append(Family(name, variants, unseen))
        return variants

    return register
