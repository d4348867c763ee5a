"""The data flow of Python code as CodeBLEU compares it (Ren et al. 2020; Microsoft's DFG_python, made deterministic).

A flow says that the value of a name at one token comes from, or is computed from, names at other tokens. Microsoft's code
keeps names in sets, so its result changes with PYTHONHASHSEED; here names keep the order in which they are first seen.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from tree_sitter import Node

from codetune.score.syntax import Span, is_leaf, span

# A loop's body is walked twice, so n nested loops cost 2**n: a runaway completion must not stop the scorer.
MAX_VISITS = 100_000

NormalFlow = tuple[str, str, tuple[str, ...]]
# Without one of these tokens no node of `_HANDLERS` makes a flow.
_BINDING = frozenset(("for", "while", "=", *(f"{sign}=" for sign in ("+", "-", "*", "/", "//", "%", "@", "**", "<<", ">>", "&", "|", "^"))))

Order = Callable[[Iterable[str]], Iterable[str]]  # of names without repetition

ALPHABETIC: Order = lambda names: sorted(set(names))  # noqa: E731
FIRST_SEEN: Order = dict.fromkeys


class Flow(NamedTuple):
    """`name` at token `position` takes its value from `sources`, which stand at `source_positions`."""

    name: str
    position: int
    relation: str  # comesFrom | computedFrom
    sources: tuple[str, ...] = ()
    source_positions: tuple[int, ...] = ()


class _NoFlowError(Exception):
    """The tree lacks a part that the rules need, or is too large: as in Microsoft's code the text then has no flow."""


def data_flow(root: Node, tokens: list[Node], texts: list[str], order: Order) -> Counter[NormalFlow]:
    """The flows of a tree with names numbered in the order of their first use, as a multiset.

    `texts` are the texts of `tokens`, the leaves of the tree; `order` is that of names which meet in one flow.
    """
    kinds = [node.type for node in tokens]
    named = [at for at, (kind, text) in enumerate(zip(kinds, texts, strict=True)) if kind != text]
    if _BINDING.isdisjoint(kinds) and len({texts[at] for at in named}) == len(named):
        return Counter()  # nothing gets a value, and no name is seen again: many one-line snippets
    words = {span(tokens[at]): (at, texts[at]) for at in named}
    extractor = _Extractor(words, order)
    try:
        extractor.visit(root)
    except _NoFlowError:
        return Counter()
    linked = {flow.position for flow in extractor.flows if flow.sources}
    linked.update(at for flow in extractor.flows for at in flow.source_positions)
    flows = sorted((flow for flow in extractor.flows if flow.position in linked), key=lambda flow: flow.position)
    return Counter(_normalise(_merge_positions(flows, order)))


def _normalise(flows: Iterable[Flow]) -> list[NormalFlow]:
    numbers: dict[str, str] = {}

    def number(name: str) -> str:
        return numbers.setdefault(name, f"var_{len(numbers)}")

    normal = []
    for flow in flows:
        sources = tuple(number(name) for name in flow.sources)
        normal.append((number(flow.name), flow.relation, sources))
    return normal


def _merge_positions(flows: Iterable[Flow], order: Order) -> list[Flow]:
    """One flow per token; several share the first one's relation and have all their sources."""
    merged: dict[int, Flow] = {}
    for flow in flows:
        first = merged.setdefault(flow.position, flow)
        if first is not flow:
            merged[flow.position] = first._replace(sources=tuple(order(first.sources + flow.sources)))
    return list(merged.values())


def _merge_passes(flows: list[Flow], order: Order) -> list[Flow]:
    """The flows of a loop's two passes, equal ones as one."""
    merged: dict[tuple[str, int, str], Flow] = {}
    for flow in flows:
        first = merged.setdefault(flow[:3], flow)
        if first is not flow:
            positions = tuple(sorted({*first.source_positions, *flow.source_positions}))
            merged[flow[:3]] = first._replace(sources=tuple(order(first.sources + flow.sources)), source_positions=positions)
    return list(merged.values())


class _Extractor:
    """Walks a tree once; `states` says at which tokens each name last got its value."""

    def __init__(self, words: Mapping[Span, tuple[int, str]], order: Order) -> None:
        self.words = words  # position and text of the tokens that are no keywords or signs
        self.order = order
        self.flows: list[Flow] = []
        self.states: dict[str, tuple[int, ...]] = {}
        self.visits = 0

    def visit(self, node: Node) -> None:
        self.visits += 1
        if self.visits > MAX_VISITS:
            raise _NoFlowError
        if is_leaf(node):
            self.token(node)
        elif handle := _HANDLERS.get(node.type):
            handle(self, node)
        else:
            for child in node.children:
                if child.child_count:
                    self.visit(child)
                else:
                    self.token(child)

    def comprehension(self, node: Node) -> None:
        """The clauses come first: they bind the names that stand before them."""
        for child in sorted(node.children, key=lambda child: child.type != "for_in_clause"):
            self.visit(child)

    def clause(self, node: Node) -> None:
        self.flow_into([_field(node, "left")], [node.children[-1]])

    def token(self, node: Node) -> None:
        word = self.words.get((node.start_byte, node.end_byte))
        if word is None:
            return
        position, text = word
        if text in self.states:
            self.flows.append(Flow(text, position, "comesFrom", (text,), self.states[text]))
            return
        if node.type == "identifier":
            self.states[text] = (position,)
        self.flows.append(Flow(text, position, "comesFrom"))

    def names(self, node: Node) -> list[tuple[int, str]]:
        """Position and text of the tokens below a node that are no keywords or signs."""
        if is_leaf(node):
            word = self.words.get(span(node))
            return [word] if word else []
        return [name for child in node.children for name in self.names(child)]

    def default_parameter(self, node: Node) -> None:
        targets, value = self.names(_field(node, "name")), _field(node, "value")
        self.visit(value)
        for position, text in targets:
            self.flows += [Flow(text, position, "comesFrom", (source,), (at,)) for at, source in self.names(value)]
            self.states[text] = (position,)

    def assignment(self, node: Node) -> None:
        if node.child_by_field_name("right") is not None:  # else an annotation without a value
            self.flow_into(*self.sides(node))

    def sides(self, node: Node) -> tuple[list[Node], list[Node]]:
        """The targets and values of an assignment or a loop: element by element where both sides have equally many."""
        left, right = _field(node, "left"), _field(node, "right")
        targets, values = _elements(left), _elements(right)
        if len(targets) != len(values) or not targets:
            return [left], [right]
        if right.type != "string":
            return targets, values
        if self.order is ALPHABETIC:  # in `a.b = "text"` Microsoft's code looks for the string's quotes among the tokens, and fails
            raise _NoFlowError
        return [left], [right]

    def flow_into(self, targets: list[Node], values: list[Node]) -> None:
        for value in values:
            self.visit(value)
        for target, value in zip(targets, values, strict=False):
            sources = self.names(value)
            names, positions = tuple(text for _, text in sources), tuple(at for at, _ in sources)
            for position, text in self.names(target):
                self.flows.append(Flow(text, position, "computedFrom", names, positions))
                self.states[text] = (position,)

    def branches(self, node: Node) -> None:
        """Each `elif` and `else` starts from the state before the `if`; afterwards a name may come from any of them."""
        before, current, ends = self.states, dict(self.states), []
        for child in node.children:
            is_clause = child.type in ("elif_clause", "else_clause")
            self.states = dict(before) if is_clause else current
            self.visit(child)
            if is_clause:
                ends.append(self.states)
            else:
                current = self.states
        ends.append(current)
        if not any("else" in child.type for child in node.children):
            ends.append(before)
        positions: dict[str, set[int]] = {}
        for end in ends:
            for name, at in end.items():
                positions.setdefault(name, set()).update(at)
        self.states = {name: tuple(sorted(at)) for name, at in positions.items()}

    def for_loop(self, node: Node) -> None:
        start = len(self.flows)
        for _ in range(2):  # the second pass sees what the first one left
            self.flow_into(*self.sides(node))
            if node.children[-1].type == "block":
                self.visit(node.children[-1])
        self.flows[start:] = _merge_passes(self.flows[start:], self.order)

    def while_loop(self, node: Node) -> None:
        start = len(self.flows)
        for _ in range(2):
            for child in node.children:
                self.visit(child)
        self.flows[start:] = _merge_passes(self.flows[start:], self.order)


_HANDLERS: dict[str, Callable[[_Extractor, Node], None]] = {
    "default_parameter": _Extractor.default_parameter,
    "assignment": _Extractor.assignment,
    "augmented_assignment": _Extractor.assignment,
    "if_statement": _Extractor.branches,
    "for_statement": _Extractor.for_loop,
    "while_statement": _Extractor.while_loop,
    "for_in_clause": _Extractor.clause,
    "list_comprehension": _Extractor.comprehension,
    "set_comprehension": _Extractor.comprehension,
    "dictionary_comprehension": _Extractor.comprehension,
    "generator_expression": _Extractor.comprehension,
    "ERROR": _Extractor.comprehension,  # may hold the pieces of one
}


def _field(node: Node, name: str) -> Node:
    child = node.child_by_field_name(name)
    if child is None:
        raise _NoFlowError
    return child


def _elements(side: Node) -> list[Node]:
    return [child for child in side.children if child.type != ","]
