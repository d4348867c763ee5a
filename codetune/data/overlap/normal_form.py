"""Normal forms of Python functions: two have the same one where only names, docstrings, annotations, decorators and layout differ."""

from __future__ import annotations

import ast
import builtins
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

Function = ast.FunctionDef | ast.AsyncFunctionDef
Shape = tuple[object, ...]
_LEFT_OUT = frozenset({"annotation", "returns", "type_comment", "type_params", "decorator_list", "type_ignores", "kind", "ctx"})
_NAMES = frozenset({"name", "id", "arg", "asname", "names", "rest"})  # what hold names of variables, where the node is not one of these:
_NOT_VARIABLES = (ast.keyword, ast.Attribute, ast.alias)
_WITH_DOCSTRING = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Module)
_BUILTINS = frozenset(dir(builtins))


@dataclass(frozen=True, slots=True)
class NormalForm:
    """`digest` is equal for equal trees; `nodes` counts the tree's nodes; `name` is the function's own, "" of a module."""

    digest: bytes
    nodes: int
    name: str


def functions_of(tree: ast.Module) -> Iterator[Function]:
    """Every function, methods and inner ones too, outer before inner. Only statements are visited: no function stands in an expression."""
    waiting: list[ast.AST] = [tree]
    while waiting:
        node = waiting.pop()
        if isinstance(node, Function):
            yield node
        for field in ("body", "orelse", "handlers", "finalbody", "cases"):
            inner = getattr(node, field, None)
            if isinstance(inner, list):  # the body of a lambda or of a conditional expression is one node
                waiting.extend(reversed(inner))


def shape(node: Function | ast.Module) -> Shape:
    """What nodes of equal normal form have in common and is quick to see: how many arguments, and which statements of which size."""
    kinds = tuple((type(one), type(getattr(one, "value", None)), _size(one, "body"), _size(one, "orelse")) for one in _body(node))
    return kinds if isinstance(node, ast.Module) else (len(node.args.args), len(node.args.kwonlyargs), type(node), *kinds)


def normal_form(node: Function | ast.Module) -> NormalForm | None:
    """None of what has no statement but a docstring, and of what is nested too deep to walk."""
    if not _body(node):
        return None
    try:
        parts = _Parts(node)
    except RecursionError:
        return None
    digest = hashlib.blake2b("\x00".join(parts.written).encode("utf-8", "surrogatepass"), digest_size=16).digest()
    return NormalForm(digest, parts.nodes, "" if isinstance(node, ast.Module) else node.name)


def _size(statement: ast.stmt, field: str) -> int:
    """How many statements are in it; a definition's own body may hold a docstring, which does not count."""
    return 0 if isinstance(statement, _WITH_DOCSTRING) else len(getattr(statement, field, ()))


def _body(node: ast.AST) -> list[ast.stmt]:
    """The statements without the docstring."""
    body: list[ast.stmt] = getattr(node, "body", [])
    match body:
        case [ast.Expr(value=ast.Constant(value=str())), *rest]:
            return rest
    return body


class _Parts:
    """The tree written as text in one order, with variables as numbers in order of appearance."""

    def __init__(self, root: ast.AST) -> None:
        self.written: list[str] = []
        self.nodes = 0
        self._kept = _BUILTINS.difference(_bound_names(root))  # a variable called `max` is a variable
        self._numbers: dict[str, int] = {}
        self._write(root)

    def _write(self, node: ast.AST) -> None:
        self.nodes += 1
        written = self.written
        written.append(type(node).__name__)
        variables = not isinstance(node, _NOT_VARIABLES)
        for field in node._fields:
            if field in _LEFT_OUT:
                continue
            value = _body(node) if field == "body" and isinstance(node, _WITH_DOCSTRING) else getattr(node, field, None)
            if isinstance(value, ast.AST):
                self._write(value)
            elif isinstance(value, list):
                written.append("[")
                for item in value:
                    if isinstance(item, ast.AST):
                        self._write(item)
                    else:
                        written.append(self._name(item) if variables else repr(item))
                written.append("]")
            elif isinstance(value, str) and variables and field in _NAMES:
                written.append(self._name(value))
            else:
                written.append(f"{type(value).__name__} {value!r}")

    def _name(self, name: object) -> str:
        """A builtin's name stays; any other is a number, those that are bound elsewhere too: helpers and modules can be renamed."""
        return f"={name}" if name in self._kept else f"${self._numbers.setdefault(str(name), len(self._numbers))}"


def _bound_names(root: ast.AST) -> Iterator[str]:
    for node in ast.walk(root):
        match node:
            case ast.Name(id=name, ctx=ast.Store() | ast.Del()) | ast.arg(arg=name):
                yield name
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                yield name
            case ast.ExceptHandler(name=str(name)) | ast.MatchAs(name=str(name)) | ast.MatchStar(name=str(name)):
                yield name
            case ast.MatchMapping(rest=str(name)):
                yield name
