"""Test files of Python as tests that run beside the checker: plain asserts, functions `test_*`, classes of them, simple `unittest` cases.

Imports of the program under test are taken out, and the names are the program's. `pytest.raises` is known; of pytest's other means
(fixtures, marks) none is. A class of tests has `setup_method` and `teardown_method`, a `TestCase` what `unittest` gives it.
"""

from __future__ import annotations

import ast
import sys
import warnings
from collections.abc import Collection
from dataclasses import dataclass
from typing import NoReturn

from codetune.errors import UserError
from codetune.records import AssertTest

_PYTEST = "pytest"


@dataclass(frozen=True, slots=True)
class Suite:
    """One test file. `setup` runs before all tests; `names` are those that it takes from the program by name, in order."""

    setup: str
    tests: tuple[AssertTest, ...]
    names: tuple[str, ...]


def read_suite(text: str, where: str, modules: Collection[str] | None = None) -> Suite:
    """The tests in a text of Python. `modules` are what the program is imported as, None for all that is not Python's own; `where` names
    the text in errors. Raises UserError for what is not Python, has no test, or needs more of pytest or unittest than is known."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(text)
    except SyntaxError as error:
        raise UserError(f"{where}, line {error.lineno or 0}: not Python ({error.msg})") from None
    except (ValueError, RecursionError, MemoryError) as error:
        raise UserError(f"{where}: not Python that can be read ({type(error).__name__})") from None
    tree.body = [one for one in tree.body if not _is_main_guard(one)]
    rewriting = _Rewriting(where, modules)
    body = [one for one in rewriting.visit(tree).body if not isinstance(one, ast.Pass)]
    setup, tests = _Tests(where).of(body)
    return Suite(setup, tests, tuple(dict.fromkeys(rewriting.names)))


class _Tests:
    """Cuts the statements of a test file into set-up and tests."""

    def __init__(self, where: str) -> None:
        self._where = where

    def of(self, body: list[ast.stmt]) -> tuple[str, tuple[AssertTest, ...]]:
        """A test for each function and for each method of a class; else for each assert, where nothing but asserts follows the first."""
        tests = [one for one in body if _is_test(one)]
        rest = [one for one in body if not _is_test(one)]
        if tests:
            return _text(rest), tuple(AssertTest(f"{_text([one])}\n{call}\n") for one in tests for call in self._calls(one))
        first = next((number for number, one in enumerate(rest) if isinstance(one, ast.Assert)), None)
        if first is not None and all(isinstance(one, ast.Assert) for one in rest[first:]):
            return _text(rest[:first]), tuple(AssertTest(_text([one])) for one in rest[first:])
        if any(isinstance(node, ast.Assert) for one in rest for node in ast.walk(one)):
            return "", (AssertTest(_text(rest)),)
        self._refuse(0, "no assert and no function test_*; write one")

    def _calls(self, one: ast.stmt) -> list[str]:
        if isinstance(one, ast.ClassDef):
            return self._methods(one)
        if not isinstance(one, ast.FunctionDef):
            self._refuse(one.lineno, f"{getattr(one, 'name', '')} is async; write plain functions test_*")
        self._refuse_more(one, "")
        return [f"{one.name}()"]

    def _methods(self, one: ast.ClassDef) -> list[str]:
        """The calls that pytest or unittest would make, for each method test_*."""
        methods = [each for each in one.body if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef)]
        tests = [each for each in methods if each.name.startswith("test")]
        has = {each.name for each in methods}
        unit = _is_test_case(one)
        if one.decorator_list or (one.bases and not unit and ast.unparse(one.bases[0]) != "object"):
            self._refuse(one.lineno, f"{one.name} is decorated or derives from another class; write a plain class of functions test_*")
        if not tests:
            self._refuse(one.lineno, f"{one.name} has no function test_*; write one")
        for each in tests:
            if isinstance(each, ast.AsyncFunctionDef):
                self._refuse(each.lineno, f"{each.name} is async; write plain functions test_*")
            self._refuse_more(each, "self")
        if unit:
            opens = f"{one.name}.setUpClass()\n" if "setUpClass" in has else ""
            return [f"{opens}{one.name}({each.name!r}).debug()" for each in tests]
        before, after = (f"\n_case.{name}()" if name in has else "" for name in ("setup_method", "teardown_method"))
        return [f"_case = {one.name}(){before}\n_case.{each.name}(){after}" for each in tests]

    def _refuse_more(self, function: ast.FunctionDef, takes: str) -> None:
        if function.decorator_list:
            self._refuse(function.lineno, f"{function.name} is decorated; write one function per case")
        if ast.unparse(function.args) != takes:
            self._refuse(function.lineno, f"{function.name} takes arguments; fixtures are not known here")

    def _refuse(self, line: int, message: str) -> NoReturn:
        raise _error(self._where, line, message)


class _Rewriting(ast.NodeTransformer):
    """Makes a test file independent of pytest and of the module under test."""

    def __init__(self, where: str, modules: Collection[str] | None) -> None:
        self.where, self._modules, self.names = where, modules, list[str]()
        self._aliases: set[str] = set()  # what the module under test is called here

    def visit_Import(self, node: ast.Import) -> ast.stmt:
        ours = [alias for alias in node.names if self._is_ours(alias.name)]
        self._aliases |= {alias.asname or alias.name for alias in ours}
        return self._left(node, [alias for alias in node.names if alias not in ours and alias.name != _PYTEST])

    def visit_ImportFrom(self, node: ast.ImportFrom) -> ast.stmt | list[ast.stmt]:
        if node.module == _PYTEST:
            raise self._error(node.lineno, "import pytest as a whole; only pytest.raises is known")
        if not node.module or not self._is_ours(node.module, node.level):  # `from . import stats`
            modules = [alias for alias in node.names if (alias.name in self._modules if self._modules else node.level)]
            self._aliases |= {alias.asname or alias.name for alias in modules}
            return self._left(node, [alias for alias in node.names if alias not in modules])
        self.names += [alias.name for alias in node.names if alias.name != "*"]
        renamed = [f"{alias.asname} = {alias.name}" for alias in node.names if alias.asname not in (None, alias.name)]
        return ast.parse("; ".join(renamed) or "pass").body

    def visit_Attribute(self, node: ast.Attribute) -> ast.expr:
        if self._aliases and isinstance(node.value, ast.Name | ast.Attribute) and ast.unparse(node.value) in self._aliases:
            self.names.append(node.attr)
            return ast.copy_location(ast.Name(node.attr, node.ctx), node)
        return self.generic_visit(node)  # type: ignore[return-value]

    def visit_Name(self, node: ast.Name) -> ast.expr:
        if node.id in self._aliases:
            raise self._error(node.lineno, f"uses the module {node.id!r} itself; use what it defines, as in {node.id}.f(1)")
        if node.id == _PYTEST:
            raise self._error(node.lineno, "only pytest.raises is known; write plain asserts")
        return node

    def visit_Call(self, node: ast.Call) -> ast.expr:
        """`pytest.raises(E, match="x")` is unittest's `assertRaisesRegex(E, "x")`."""
        if isinstance(node.func, ast.Attribute) and ast.unparse(node.func) == "pytest.raises":
            keywords = {keyword.arg: keyword.value for keyword in node.keywords}
            if len(node.args) != 1 or keywords.keys() - {"match"}:
                raise self._error(node.lineno, "pytest.raises is known with one exception, and match=")
            method = "assertRaisesRegex" if keywords else "assertRaises"
            wanted = ast.parse(f"__import__('unittest').TestCase().{method}", mode="eval").body
            node = ast.Call(wanted, [*node.args, *keywords.values()], [])
        return self.generic_visit(node)  # type: ignore[return-value]

    def _is_ours(self, module: str, level: int = 0) -> bool:
        """Whether it is the module under test: by its name or the last part of a dotted one, else whatever is not Python's own."""
        if module == _PYTEST:
            return False
        if self._modules is None:
            return bool(level) or module.partition(".")[0] not in sys.stdlib_module_names
        return module in self._modules or module.rpartition(".")[2] in self._modules

    def _left(self, node: ast.Import | ast.ImportFrom, names: list[ast.alias]) -> ast.stmt:
        """The import of what is left. Beside the checker there are Python's own modules alone."""
        node.names = names
        modules = [alias.name for alias in names] if isinstance(node, ast.Import) else [node.module or ""]
        for module in modules if names and self._modules is not None else ():
            if getattr(node, "level", 0) or module.partition(".")[0] not in sys.stdlib_module_names:
                raise self._error(node.lineno, f"imports {module or 'a package'}; tests can import Python's own modules and the program")
        return node if names else ast.Pass()

    def _error(self, line: int, message: str) -> UserError:
        return _error(self.where, line, message)


def _error(where: str, line: int, message: str) -> UserError:
    return UserError(f"{where}{f', line {line}' if line else ''}: {message}")


def _is_test(statement: ast.stmt) -> bool:
    if isinstance(statement, ast.ClassDef) and _is_test_case(statement):
        return True
    named = isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
    return named and statement.name.lower().startswith("test")  # type: ignore[attr-defined]


def _is_test_case(statement: ast.ClassDef) -> bool:
    return any(ast.unparse(base) in ("unittest.TestCase", "TestCase") for base in statement.bases)


def _is_main_guard(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.If) and ast.unparse(statement.test) in ("__name__ == '__main__'", "'__main__' == __name__")


def _text(statements: list[ast.stmt]) -> str:
    return ast.unparse(ast.fix_missing_locations(ast.Module(statements, [])))
