"""Parses Python with tree-sitter, broken code included, into what CodeBLEU compares: tokens, subtrees, stripped source."""

from __future__ import annotations

import functools
import importlib.metadata
import io
import re
import textwrap
import tokenize
from collections import Counter

import tree_sitter_python
from tree_sitter import Language, Node, Parser

# Real code stays under 60 levels. Deeper trees come from completions that repeat themselves; printing and walking them is
# quadratic and would exhaust the stack, so they count as having no structure at all.
MAX_DEPTH = 150

Span = tuple[int, int]  # first byte and the byte after the last


@functools.cache
def _parser() -> Parser:
    return Parser(Language(tree_sitter_python.language()))


@functools.cache
def grammar() -> str:
    """The grammar's name and version: CodeBLEU's value depends on it."""
    return f"tree-sitter-python-{importlib.metadata.version('tree-sitter-python')}"


def parse(source: str) -> Node:
    """The root of the syntax tree; a text that is not Python gives a tree with ERROR nodes, never an exception."""
    return _parser().parse(source.encode(errors="replace")).root_node


def is_leaf(node: Node) -> bool:
    """Whether the node is one token. A string is one token, whatever it interpolates; a comment is none."""
    return (node.child_count == 0 or node.type == "string") and node.type != "comment"


def walk(root: Node) -> tuple[list[Node], Counter[str]]:
    """The tokens of a tree in their order, and the S-expression of the root and of each node that has children, counted.

    Both are empty if the tree is deeper than `MAX_DEPTH`. The expression of a tree without errors holds those of its named
    nodes, in their order: they are cut out of it, since printing each node takes time in the square of the depth.
    """
    whole, has_error = str(root), root.has_error
    tokens: list[Node] = []
    expressions: list[str] = []
    opened = closed = 0  # how far `whole` is read: behind the last "(" that opened a node, and the last ")" that closed one

    def visit(node: Node, depth: int, outside_string: bool) -> None:
        nonlocal opened, closed
        if depth > MAX_DEPTH:
            raise RecursionError
        is_named, start = node.is_named, 0
        if is_named:
            start = whole.find("(", opened)
            opened = start + 1
        if outside_string and is_leaf(node):
            tokens.append(node)
            outside_string = False
        for child in node.children:
            if child.child_count:
                visit(child, depth + 1, outside_string)
                continue
            if child.is_named:
                opened = whole.find("(", opened) + 1
                closed = whole.find(")", opened) + 1
            if outside_string and child.type != "comment":
                tokens.append(child)
        if is_named:
            closed = (closed if closed > start else whole.find(")", start)) + 1
        expressions.append(whole[start:closed] if is_named and not has_error else str(node))

    try:
        visit(root, 1, True)
    except RecursionError:
        return [], Counter()
    return tokens, Counter(expressions)


def span(node: Node) -> Span:
    """The node's place in the source, in bytes."""
    return node.start_byte, node.end_byte


def published_texts(tokens: list[Node], source: str) -> list[str]:
    """The tokens' texts as Microsoft's code reads them: columns are bytes but cut characters, line ends are dropped.

    After a character outside ASCII this reads the wrong letters. The published convention includes that.
    """
    if source.isascii():
        return [source[node.start_byte : node.end_byte].replace("\n", "") for node in tokens]
    lines, texts = source.split("\n"), []
    for node in tokens:
        (first, start), (last, end) = node.start_point, node.end_point
        if first == last:
            texts.append(lines[first][start:end])
        else:
            texts.append("".join([lines[first][start:], *lines[first + 1 : last], lines[last][:end]]))
    return texts


def exact_texts(tokens: list[Node], source: str) -> list[str]:
    """The tokens' texts."""
    data = source.encode(errors="replace")
    return [data[node.start_byte : node.end_byte].decode(errors="replace") for node in tokens]


# What may have to be stripped: a comment, a string that may open a line, and white space that the tokeniser would change.
_SUSPECT = re.compile(r"""[#\t\f]|\\\r?\n|\"{3}|'{3}|^\s*[A-Za-z]{0,2}["']""", re.MULTILINE)


def strip_as_published(source: str) -> str:
    """The source without comments and docstrings by Microsoft's rule, or unchanged where Python's tokeniser refuses it.

    The rule also drops any string that starts a line at column 0, as in `",".join(x)`.
    """
    source = source.strip()
    if not _SUSPECT.search(source):
        return source
    try:
        tokens = list(tokenize.generate_tokens(io.StringIO(source).readline))
    except (tokenize.TokenError, SyntaxError, ValueError):
        return source
    out, previous, last_line, last_col = [], tokenize.INDENT, -1, 0
    for kind, text, (line, col), (end_line, end_col), _ in tokens:
        if line > last_line:
            last_col = 0
        out.append(" " * (col - last_col))
        is_docstring = kind == tokenize.STRING and (previous in (tokenize.INDENT, tokenize.NEWLINE) or col == 0)
        if kind != tokenize.COMMENT and not is_docstring:
            out.append(text)
        previous, last_line, last_col = kind, end_line, end_col
    return "\n".join(line for line in "".join(out).split("\n") if line.strip())


def strip_exactly(source: str) -> str:
    """The source, dedented, without its comments and without strings that are a statement of their own beside others."""
    source = textwrap.dedent(source).strip()
    if not _SUSPECT.search(source):
        return source
    data, end, kept = source.encode(errors="replace"), 0, []
    for node in sorted(_comments_and_docstrings(parse(source)), key=span):
        kept.append(data[end : node.start_byte])
        end = node.end_byte
    return (b"".join(kept) + data[end:]).decode(errors="replace").strip()


def _comments_and_docstrings(root: Node) -> list[Node]:
    found, stack = [], [root]
    while stack:
        children = stack.pop().children
        statements = [child for child in children if child.type != "comment"]
        found += [child for child in children if child.type == "comment"]
        if len(statements) > 1:
            found += [child for child in statements if _is_text(child)]
        stack += [child for child in statements if child.child_count]
    return found


def _is_text(statement: Node) -> bool:
    parts = [part.type for part in statement.children] if statement.type == "expression_statement" else []
    return parts in (["string"], ["concatenated_string"])
