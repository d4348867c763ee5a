"""Problems of the user's own as folders: `problem.md` (the wish), `test_*.py`, and `solution.py` (the reference) if there is one.

A folder is one problem, or holds such folders. The tests are plain asserts, or functions `test_*` without arguments, on what they import
from `solution`. They run beside the checker, not beside the program: such imports are taken out, and the names are the program's.
`pytest.raises` is known; of pytest's other means (fixtures, parametrize, classes) none is.
"""

from __future__ import annotations

import ast
from pathlib import Path

from codetune.errors import UserError
from codetune.records import AssertTest, Problem

WISH, TESTS, SOLUTION = "problem.md", "test_*.py", "solution"


def load(path: Path) -> tuple[Problem, ...]:
    """The folder's problem, or those of the folders in it by name, which is their `task_id`. Raises UserError naming file and line."""
    folders = [path] if (path / WISH).is_file() else sorted(folder for folder in path.iterdir() if (folder / WISH).is_file())
    if not folders:
        raise UserError(f"{path} holds no {WISH}, nor do the folders in it; give a folder with {WISH} and {TESTS}, or with such folders")
    return tuple(_problem(folder) for folder in folders)


def _problem(folder: Path) -> Problem:
    wish, files = _read(folder / WISH).strip(), sorted(folder.glob(TESTS))
    if not wish:
        raise UserError(f"{folder / WISH}: empty; write what is wanted")
    if not files:
        raise UserError(f"{folder}: no {TESTS} beside {WISH}; a problem needs tests")
    suites = [_suite(file) for file in files]
    solution = folder / f"{SOLUTION}.py"
    return Problem(
        task_id=folder.resolve().name,
        instruction=wish,
        reference=_read(solution) if solution.is_file() else "",
        entry_point=next((name for suite in suites for name in suite.names), ""),
        tests=tuple(test for suite in suites for test in suite.tests),
        source=folder.resolve().parent.name,
    )


def _suite(path: Path) -> _Suite:
    try:
        return _Suite(path, ast.parse(_read(path)))
    except SyntaxError as error:
        raise UserError(f"{path}, line {error.lineno or 0}: not Python ({error.msg})") from None
    except (ValueError, RecursionError, MemoryError) as error:
        raise UserError(f"{path}: not Python that can be read ({type(error).__name__})") from None


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 text (byte {error.start}); save it as UTF-8") from error
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from error


class _Suite(ast.NodeTransformer):
    """One test file, made independent of pytest and of a module `solution`. `names` are those that it takes from the program."""

    def __init__(self, path: Path, tree: ast.Module) -> None:
        self.path, self.names = path, list[str]()
        self.modules: set[str] = set()  # what `solution` is called here
        self.tests = self._tests(self.visit(tree).body)

    def _tests(self, body: list[ast.stmt]) -> list[AssertTest]:
        """One for each function, each with all that stands outside of functions `test_*`; one of that alone where there are none."""
        functions = [statement for statement in body if _is_test(statement)]
        rest = [statement for statement in body if not _is_test(statement)]
        if not functions and not any(isinstance(node, ast.Assert) for statement in rest for node in ast.walk(statement)):
            raise self.error(0, "no assert and no function test_*; write one")
        if not functions:
            return [AssertTest(_text(rest))]
        return [AssertTest(f"{_text([*rest, one])}\n{self._call(one)}\n") for one in functions]

    def visit_Import(self, node: ast.Import) -> ast.stmt:
        self.modules |= {alias.asname or alias.name for alias in node.names if alias.name == SOLUTION}
        return self._left(node, [alias for alias in node.names if alias.name not in (SOLUTION, "pytest")])

    def visit_ImportFrom(self, node: ast.ImportFrom) -> ast.stmt | list[ast.stmt]:
        if node.module == "pytest":
            raise self.error(node.lineno, "import pytest as a whole; only pytest.raises is known")
        if node.module != SOLUTION or node.level > 1:
            return self._left(node, node.names)
        self.names += [alias.name for alias in node.names if alias.name != "*"]
        renamed = [f"{alias.asname} = {alias.name}" for alias in node.names if alias.asname not in (None, alias.name)]
        return ast.parse("; ".join(renamed) or "pass").body

    def visit_Attribute(self, node: ast.Attribute) -> ast.expr:
        if isinstance(node.value, ast.Name) and node.value.id in self.modules:
            self.names.append(node.attr)
            return ast.copy_location(ast.Name(node.attr, node.ctx), node)
        return self.generic_visit(node)  # type: ignore[return-value]

    def visit_Name(self, node: ast.Name) -> ast.expr:
        if node.id in self.modules:
            raise self.error(node.lineno, f"uses the module {node.id!r} itself; use what it defines, as in {node.id}.f(1)")
        if node.id == "pytest":
            raise self.error(node.lineno, "only pytest.raises is known; write plain asserts")
        return node

    def visit_Call(self, node: ast.Call) -> ast.expr:
        """`pytest.raises(E, match="x")` is unittest's `assertRaisesRegex(E, "x")`."""
        if isinstance(node.func, ast.Attribute) and ast.unparse(node.func) == "pytest.raises":
            keywords = {keyword.arg: keyword.value for keyword in node.keywords}
            if len(node.args) != 1 or keywords.keys() - {"match"}:
                raise self.error(node.lineno, "pytest.raises is known with one exception, and match=")
            method = "assertRaisesRegex" if keywords else "assertRaises"
            wanted = ast.parse(f"__import__('unittest').TestCase().{method}", mode="eval").body
            node = ast.Call(wanted, [*node.args, *keywords.values()], [])
        return self.generic_visit(node)  # type: ignore[return-value]

    def _left(self, node: ast.Import | ast.ImportFrom, names: list[ast.alias]) -> ast.stmt:
        node.names = names
        return node if names else ast.Pass()

    def _call(self, function: ast.stmt) -> str:
        if not isinstance(function, ast.FunctionDef):
            raise self.error(function.lineno, f"{getattr(function, 'name', '')} is a class or async; write plain functions test_*")
        if function.decorator_list:
            raise self.error(function.lineno, f"{function.name} is decorated; write one function per case")
        if ast.unparse(function.args):
            raise self.error(function.lineno, f"{function.name} takes arguments; fixtures are not known here")
        return f"{function.name}()"

    def error(self, line: int, message: str) -> UserError:
        return UserError(f"{self.path}{f', line {line}' if line else ''}: {message}")


def _is_test(statement: ast.stmt) -> bool:
    named = isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
    return named and statement.name.lower().startswith("test")  # type: ignore[attr-defined]


def _text(statements: list[ast.stmt]) -> str:
    return ast.unparse(ast.fix_missing_locations(ast.Module(statements, [])))
