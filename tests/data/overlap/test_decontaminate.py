"""Decontamination: each rule on both sides of its threshold, planted problems, sentences that are everybody's, and real data."""

from __future__ import annotations

import ast
import pickle
import random
import re
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codetune.config import DecontaminateConfig
from codetune.data import basics, benchmarks
from codetune.data.benchmarks import Benchmark
from codetune.data.overlap.decontaminate import BATCH_DOCUMENTS, Decontaminator, Overlap
from codetune.data.overlap.normal_form import functions_of, normal_form
from codetune.data.overlap.training_overlap import TrainingOverlap, find_overlaps
from codetune.data.sources import load_documents, load_source
from codetune.records import AgreementTest, AssertTest, CallTest, Document, Message, Problem, StdioTest

WORDS = [f"word{number}" for number in range(40)]
LONG_REFERENCE = """def scale(items, factor):
    result = []
    for item in items:
        result.append(item * factor)
    return result
"""


def made(*problems: Problem, name: str = "bench", **config: object) -> Decontaminator:
    benchmark = Benchmark(name, "execution", problems, "", "0")
    return Decontaminator.of([benchmark], DecontaminateConfig.model_validate({"min_share": 0.0} | config))


def rules(finder: Decontaminator, text: str) -> set[str]:
    [found] = finder.overlaps([Document(id="x", text=text)])
    return {overlap.rule for overlap in found}


@pytest.mark.parametrize(("shared", "found"), [(12, set()), (13, {"text"}), (14, {"text"})])
def test_thirteen_words_in_a_row(shared: int, found: set[str]) -> None:
    finder = made(Problem("1", instruction=" ".join(WORDS)))
    assert rules(finder, " ".join(["before", *WORDS[5 : 5 + shared], "after"])) == found


def test_so_many_words_as_the_recipe_says() -> None:
    finder = made(Problem("1", instruction=" ".join(WORDS)), run_words=5)
    assert rules(finder, " ".join(WORDS[3:8])) == {"text"}
    assert rules(finder, " ".join(WORDS[3:7])) == set()


@pytest.mark.parametrize(("length", "found"), [(7, set()), (8, {"text"}), (12, {"text"})])
def test_a_text_of_eight_to_twelve_words_counts_as_a_whole(length: int, found: set[str]) -> None:
    finder = made(Problem("1", instruction=" ".join(WORDS[:length])))
    assert rules(finder, "so " + " ".join(WORDS[:length]).upper() + "\n(it is") == found
    assert rules(finder, " ".join(WORDS[: length - 1])) == set()


def test_the_share_is_that_of_the_problems_runs() -> None:
    """21 words have nine runs of 13; 15 of the words hold three of them."""
    problem = Problem("1", instruction=" ".join(WORDS[:21]))
    document = Document(id="x", text=" ".join(WORDS[:15]))
    assert made(problem, min_share=0.33).overlaps([document]) == [(Overlap("bench", "1", "text", 3 / 9),)]
    assert made(problem, min_share=0.34).overlaps([document]) == [()]


def test_what_three_problems_share_is_their_template() -> None:
    sentence = " ".join(WORDS[:14])
    two = [Problem(str(number), instruction=f"{sentence} {number} apples") for number in range(2)]
    third = Problem("2", instruction=f"{sentence} and pears")
    assert rules(made(*two), sentence) == {"text"}
    assert rules(made(*two, third), sentence) == set()
    [found] = made(*two, third).overlaps([Document(id="x", text=third.instruction)])
    assert {overlap.task_id for overlap in found} == {"2"}  # by what it has alone


@pytest.mark.parametrize(
    ("code", "found"),
    [
        ("for i in range(n):\n    for j in range(i + 1, n):\n        if a[i] > a[j]: return False", False),  # everybody's
        ("[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]", False),
        ("total = 0\nfor i in range(1, n): total += 1; total = 1; total = 3; total = 4", False),  # one telling word is not enough
        ("total = 0\nfor i in range(1, n): total += price; total = 1; total = 3; x = 4", True),
    ],
)
def test_runs_without_two_telling_words_do_not_count(code: str, found: bool) -> None:
    assert ("code" in rules(made(Problem("1", reference=code)), f"before = 1\n{code}\nafter = 2")) == found


def test_an_assert_with_a_name_tells_enough() -> None:
    values = ", ".join(map(str, range(20)))
    finder = made(Problem("1", reference="pass", tests=(AssertTest(f"assert smallest([{values}]) == 0"),)))
    assert rules(finder, f"assert smallest([{values}]) == 0") == {"tests"}
    assert rules(finder, f"numbers = [{values}]") == set()


def test_every_kind_of_test_is_looked_for() -> None:
    given_values = list(range(100, 112))
    call = Problem("call", entry_point="furthest_pair", tests=(CallTest((given_values,), 11),))
    stdio = Problem("stdio", tests=(StdioTest(" ".join(WORDS), "3"), AgreementTest(("x",))))
    assert rules(made(call), f"assert furthest_pair({given_values}) == 11") == {"tests"}
    assert rules(made(stdio), " ".join(WORDS)) == {"tests"}


RENAMED = "def grow(xs, by):\n    out = []\n    for x in xs:\n        out.append(x * by)\n    return out\n"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (RENAMED, True),
        ("import os\n\nclass A:\n    @cached\n    def grow(xs: list, by: int = None) -> list:\n        pass\n\n" + RENAMED, True),
        (RENAMED.replace("    out = []", "    out: list[int] = []"), False),  # another statement
        (RENAMED.replace("    out = []", '    """Grow."""  # first\n    out = [\n    ]'), True),
        ("Here:\n\n```python\n" + RENAMED + "```\nThat is all.", True),
        ("\n".join("    " + line for line in RENAMED.splitlines()), True),  # with a margin
        (RENAMED.replace("*", "+"), False),
        (RENAMED.replace("append", "extend"), False),  # an attribute is no variable
        (RENAMED.replace("x * by", "x * xs"), False),  # the same names in another order
        (RENAMED + "def (", False),  # does not parse
    ],
)
def test_the_same_tree_under_other_names(text: str, found: bool) -> None:
    assert ("ast" in rules(made(Problem("1", reference=LONG_REFERENCE, entry_point="scale")), text)) == found


def test_builtins_stay_and_variables_called_like_them_do_not() -> None:
    body = "def f(xs):\n    {0} = xs[0]\n    for x in xs:\n        {0} = {1}({0}, x)\n    return {0}\n"
    finder = made(Problem("1", reference=body.format("best", "max"), entry_point="f"))
    assert "ast" in rules(finder, body.format("list", "max"))
    assert "ast" not in rules(finder, body.format("best", "min"))


def test_a_small_function_counts_only_under_its_name() -> None:
    finder = made(Problem("1", reference="def add(a, b):\n    return a + b\n", entry_point="add"))
    assert rules(finder, "def add(first, second):\n    return first + second") == {"ast"}
    assert rules(finder, "def plus(a, b):\n    return a + b") == set()


def test_a_helper_of_the_answer_is_not_what_is_asked() -> None:
    helper = LONG_REFERENCE.replace("scale", "help_out")
    finder = made(Problem("1", reference=LONG_REFERENCE + "def solve(xs):\n    return help_out(xs, 2)\n" + helper, entry_point="solve"))
    assert "ast" not in rules(finder, RENAMED)


def test_conversations_and_pairs_are_searched_whole() -> None:
    finder = made(Problem("1", prompt="def scale(items, factor):\n", reference=LONG_REFERENCE.partition("\n")[2], entry_point="scale"))
    chat = Document(id="c", messages=(Message("user", "Do it."), Message("assistant", f"Sure:\n```\n{RENAMED}```")))
    pair = Document(id="p", instruction="Go on.", prompt=RENAMED[:18], text=RENAMED[18:])
    assert [bool(found) for found in finder.overlaps([chat, pair, Document(id="n", text="nothing")])] == [True, True, False]


def test_of_kin_only_the_whole_problem_counts() -> None:
    """Problems that name their family are made from the same sentences as the training documents of their source."""
    problem = Problem("known/1", instruction=" ".join(WORDS), reference=LONG_REFERENCE, family="scaling", source="basics")
    finder = made(problem)
    sibling = Document.of(Problem("t/1", instruction=" ".join(WORDS) + " please", reference=LONG_REFERENCE, source="basics"))
    twin = Document.of(Problem("t/2", instruction="  ".join(WORDS), reference=LONG_REFERENCE + "\n", source="basics"))
    stranger = Document(id="s", text=" ".join(WORDS), source="mine")
    found = [{overlap.rule for overlap in each} for each in finder.overlaps([sibling, twin, stranger])]
    assert found == [set(), {"whole"}, {"text"}]


@given(st.lists(st.text(alphabet=st.characters(codec=None), max_size=200), max_size=6))
def test_no_text_is_too_odd(texts: list[str]) -> None:
    finder = made(*(Problem(str(number), instruction=text, reference=text) for number, text in enumerate(texts)))
    assert len(finder.overlaps([Document(id="x", text=text, instruction=text) for text in texts])) == len(texts)
    assert made().overlaps([Document(id="x", text=text) for text in texts]) == [()] * len(texts)


@pytest.mark.parametrize("text", ["def f():\n    return '\ud800'", "(" * 500 + ")" * 500, "a" + "+a" * 20_000, "\0", "def f(" * 300])
def test_code_that_breaks_parsers_is_no_code(text: str) -> None:
    assert "ast" not in rules(made(Problem("1", reference=LONG_REFERENCE)), text)


@given(st.lists(st.sampled_from("pqr"), max_size=60), st.lists(st.sampled_from("pqr"), max_size=60))
def test_agrees_with_comparing_all_runs(benchmark: list[str], document: list[str]) -> None:
    """Words of two letters, so that they tell something; a run of one word alone does not."""
    wanted, given_words = [word * 2 for word in benchmark], [word * 2 for word in document]
    length = min(13, len(wanted))

    def runs(words: list[str]) -> set[tuple[str, ...]]:
        return {tuple(words[at : at + length]) for at in range(len(words) - length + 1)}

    found = {run for run in runs(wanted) & runs(given_words) if length >= 8 and len(set(run)) > 1}
    assert ("text" in rules(made(Problem("1", instruction=" ".join(wanted))), " ".join(given_words))) == bool(found)


def test_the_same_alone_in_batches_and_in_another_process() -> None:
    problems = basics.load("known")[:40]
    finder = Decontaminator.of([Benchmark("known", "execution", problems, "", "0")], DecontaminateConfig())
    documents = [Document(id=str(n), text=f"{p.instruction}\n{p.reference}" * (n % 3)) for n, p in enumerate(basics.load("known")[:60])]
    together = finder.overlaps(documents)
    assert together == [finder.overlaps([document])[0] for document in documents]
    assert pickle.loads(pickle.dumps(finder)).overlaps(documents) == together
    assert len(finder.overlaps([documents[0]] * (BATCH_DOCUMENTS + 1))) == BATCH_DOCUMENTS + 1
    assert sum(map(bool, together)) >= 20


class Renamed(ast.NodeTransformer):
    """Every variable, argument and function of a module under a name that says nothing."""

    def __init__(self, tree: ast.Module, seed: int) -> None:
        rng = random.Random(seed)
        stored = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
        defined = {node.name for node in functions_of(tree)} | {node.arg for node in ast.walk(tree) if isinstance(node, ast.arg)}
        self.names = {name: f"v{rng.randrange(10**9)}" for name in sorted(stored | defined)}

    def visit_Name(self, node: ast.Name) -> ast.Name:
        return ast.Name(self.names.get(node.id, node.id), node.ctx)

    def visit_arg(self, node: ast.arg) -> ast.arg:
        return ast.arg(self.names[node.arg])

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        node.name = self.names[node.name]
        if ast.get_docstring(node):
            node.body = node.body[1:] or [ast.Pass()]
        return self.generic_visit(node)


def renamed(problem: Problem) -> str:
    tree = ast.parse(problem.reference_program)
    return ast.unparse(Renamed(tree, 1).visit(tree))


def reformatted(problem: Problem) -> str:
    return ast.unparse(ast.parse(problem.reference_program)).replace("\n", "\n\n\n")


def docstring_alone(problem: Problem) -> str:
    return re.split(r'"""|\'\'\'', problem.prompt)[-2]


# Written over with other names and without their docstring, these functions are too small to be anybody's.
SMALL_FUNCTIONS = {2, 16, 23, 27, 28, 30, 34, 41, 42, 45, 52, 53, 54, 60, 79}


@pytest.mark.parametrize(
    ("plant", "missed"),
    [
        (lambda problem: problem.reference_program, set()),
        (renamed, SMALL_FUNCTIONS),
        (reformatted, set()),
        (docstring_alone, set()),
        (lambda problem: problem.tests[0].code, set()),
        (lambda problem: f"Sure!\n\n```python\n{problem.reference_program}\n```\n", set()),
    ],
    ids=["verbatim", "renamed", "reformatted", "docstring", "tests", "fenced"],
)
def test_planted_problems_of_humaneval_are_found(plant: Callable[[Problem], str], missed: set[int], data_folder: Path) -> None:
    benchmark = benchmarks.load("humaneval", data_folder / "humaneval" / "HumanEval.jsonl.gz")
    finder = Decontaminator.of([benchmark], DecontaminateConfig())
    found = finder.overlaps([Document(id=p.task_id, text=plant(p)) for p in benchmark.problems])
    own = zip(benchmark.problems, found, strict=True)
    assert {int(p.task_id.split("/")[1]) for p, each in own if p.task_id not in {o.task_id for o in each}} == missed


def test_what_real_training_rows_overlap(data_folder: Path) -> None:
    """Every one of these was looked at: each holds the function that is the reference, most of them to the same wish."""
    files = {"humaneval": "humaneval/HumanEval.jsonl.gz", "mbpp-all": "mbpp/mbpp.jsonl"}
    against = [benchmarks.load(name, data_folder / file) for name, file in files.items()]
    finder = Decontaminator.of(against, DecontaminateConfig())

    def hits(rows: Sequence[Problem]) -> list[tuple[str, set[str]]]:
        found = zip(rows, finder.overlaps([Document.of(row) for row in rows]), strict=True)
        return [(row.task_id.split("/")[-1], {overlap.task_id for overlap in each}) for row, each in found if each]

    alpaca = hits(load_source(str(data_folder / "codealpaca" / "code_alpaca_2k.json")))
    assert ("1732", {"HumanEval/13"}) in alpaca
    assert ("358", {"MBPP/886"}) in alpaca
    assert len(alpaca) == 18
    leetcode = hits(load_source("leetcode", data=data_folder / "leetcode" / "LeetCodeDataset-v0.1.0-train.jsonl.gz"))
    assert leetcode == [("find-k-pairs-with-smallest-sums", {"MBPP/408"})]


def test_mbpp_trains_on_a_problem_of_its_own_test(data_folder: Path) -> None:
    """The published split itself: task 704 is task 248."""
    file = data_folder / "mbpp" / "mbpp.jsonl"
    found = find_overlaps(load_documents("mbpp", data=file), [benchmarks.load("mbpp", file)], DecontaminateConfig())
    whole = {overlap.task_id for each in found for overlap in each if overlap.rule == "whole"}
    assert whole == {"MBPP/248"}


def test_the_quickstart_loses_no_training_row() -> None:
    against = [benchmarks.load("basics-known"), benchmarks.load("basics-unseen")]
    train = [*load_documents("basics"), *load_documents("basics", "validation")]
    assert len(train) == 5100
    assert not any(find_overlaps(train, against, DecontaminateConfig()))
    planted = [*train[:50], Document.of(against[0].problems[7])]
    assert [bool(each) for each in find_overlaps(planted, against, DecontaminateConfig())] == [False] * 50 + [True]


def test_kept_overlaps_are_those_that_were_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CODETUNE_CACHE", str(tmp_path))
    against = [benchmarks.load("basics-known")]
    documents = [Document("a", instruction="nothing"), Document("b", text=against[0].problems[3].reference)]
    first = find_overlaps(documents, against, DecontaminateConfig())
    [kept] = tmp_path.glob("overlaps-*.json")
    assert find_overlaps(documents, against, DecontaminateConfig()) == first
    kept.write_text('{"0": [{"benchmark"')
    assert find_overlaps(documents, against, DecontaminateConfig()) == first
    assert [bool(each) for each in first] == [False, True]


def test_the_summary_counts_documents_and_problems_and_shows_the_strongest() -> None:
    weak, strong = Overlap("b", "1", "text", 0.2), Overlap("b", "1", "ast", 1.0)
    report = TrainingOverlap(9, ("b", "c"), True, (("x", (strong, weak)), ("y", (weak,))))
    summary = report.summary()
    assert (summary["documents"], summary["overlapping"], summary["left_out"]) == (9, 2, True)
    examples = summary["benchmarks"]["b"].pop("examples")
    assert [(example["document"], example["rule"]) for example in examples] == [("x", "ast"), ("y", "text")]
    assert summary["benchmarks"]["b"] == {"documents": 2, "problems": 1, "by_rule": {"ast": 1, "text": 1}}
    assert summary["benchmarks"]["c"]["documents"] == 0
    assert report.among({"y", "z"}).summary()["overlapping"] == 1


def test_deep_trees_have_no_normal_form() -> None:
    node: ast.expr = ast.Name("a", ast.Load())
    for _ in range(20_000):
        node = ast.UnaryOp(ast.Not(), node)
    assert normal_form(ast.Module([ast.Expr(node)], [])) is None
