"""Packages that can be called: `codetune.score(...)` is a function of the API, and `codetune.score` the package of the metrics."""

from __future__ import annotations

import importlib
import sys
import types
from typing import Any


class CallableModule(types.ModuleType):
    """A module that passes calls on to the function of its own name in `codetune.api`, which is loaded then."""

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        function = getattr(importlib.import_module("codetune.api"), self.__name__.rpartition(".")[2])
        return function(*arguments, **options)


def make_callable(name: str) -> None:
    """Let the module of this name, which is being imported, be called."""
    sys.modules[name].__class__ = CallableModule
