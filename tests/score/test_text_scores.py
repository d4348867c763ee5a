"""The text metrics through `score_text`, and the small ones (ROUGE-L, edit similarity, exact match, validity) by hand."""

from __future__ import annotations

import doctest
import json
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codetune.errors import UserError
from codetune.score import rouge, text
from codetune.score.rouge import code_tokens, lcs_length, rouge_l
from codetune.score.text import METRICS, edit_similarity, exact_match, levenshtein, normalise, score_text, syntax_valid

WORDS = st.text(alphabet="abc", max_size=12)
CODE = st.text(alphabet="abX_1 =()\n'.", max_size=30)


@pytest.mark.parametrize("module", [rouge, text])
def test_doctests(module: object) -> None:
    assert doctest.testmod(module).failed == 0  # type: ignore[arg-type]


def slow_lcs(a: str, b: str) -> int:
    row = [0] * (len(b) + 1)
    for x in a:
        previous = row[:]
        for column, y in enumerate(b, 1):
            row[column] = previous[column - 1] + 1 if x == y else max(previous[column], row[column - 1])
    return row[-1]


def slow_levenshtein(a: str, b: str) -> int:
    row = list(range(len(b) + 1))
    for x in a:
        previous, row = row, [row[0] + 1]
        for column, y in enumerate(b, 1):
            row.append(min(previous[column] + 1, row[-1] + 1, previous[column - 1] + (x != y)))
    return row[-1]


@given(WORDS, WORDS)
def test_lcs_equals_the_textbook(a: str, b: str) -> None:
    assert lcs_length(a, b) == lcs_length(b, a) == slow_lcs(a, b)


@given(WORDS, WORDS)
def test_levenshtein_equals_the_textbook(a: str, b: str) -> None:
    assert levenshtein(a, b) == levenshtein(b, a) == slow_levenshtein(a, b)


def test_lcs_of_a_thousand_tokens() -> None:
    tokens = [str(number % 97) for number in range(1000)]
    assert lcs_length(tokens, tokens) == 1000
    assert lcs_length(tokens, ["x", *tokens[:500], "y", *tokens[500:]]) == 1000


def test_rouge_l_keeps_operators() -> None:
    assert rouge_l("a == b", ["a != b"]) == pytest.approx(2 / 3)
    assert rouge_l("a == b", ["a==b"]) == 1.0
    assert code_tokens("x//=2->y ... :=@") == ["x", "//=", "2", "->", "y", "...", ":=", "@"]


def test_rouge_l_by_hand() -> None:
    # f ( a , b ) against f ( b ): the whole of the second is in the first, 2 * 4 / (6 + 4)
    assert rouge_l("f(a, b)", ["f(b)"]) == pytest.approx(0.8)
    assert rouge_l("f(a, b)", ["g[c]", "f(b)"]) == pytest.approx(0.8)
    assert rouge_l("", ["f(b)"]) == 0.0


def test_edit_similarity_by_hand() -> None:
    assert edit_similarity("kitten", ["sitting"]) == pytest.approx(1 - 3 / 7)
    assert edit_similarity(" kitten\n", ["kitten"]) == 1.0
    assert edit_similarity("", [""]) == 0.0


def test_exact_match_ignores_white_space_but_indentation() -> None:
    assert exact_match("if x:\r\n    y  =  1  \n\n", ["if x:\n    y = 1"]) == 1.0
    assert exact_match("    x = 1\n    y = 2", ["x = 1\ny = 2"]) == 1.0
    assert exact_match("if x:\n    y\nz", ["if x:\n    y\n    z"]) == 0.0
    assert exact_match("", [""]) == 0.0


def test_codexglue_exact_match_vector(data_folder: Path) -> None:
    folder = data_folder / "codexglue_text"
    answers = [json.loads(line)["code"] for line in (folder / "text-to-code.answers.json").read_text().splitlines()]
    completions = (folder / "text-to-code.predictions.txt").read_text().splitlines()
    pairs = [(completion, [answer]) for completion, answer in zip(completions, answers, strict=True)]
    assert score_text(pairs, ["exact_match"]).metrics == {"exact_match": 0.17}


@pytest.mark.parametrize("code", ["x = 1", "return 1", "match x:\n    case 1: pass", "'\\d'", "def f(): ..."])
def test_valid_syntax(code: str, recwarn: pytest.WarningsRecorder) -> None:
    assert syntax_valid(code)
    assert not recwarn.list


@pytest.mark.parametrize("code", ["", "\n", "# nothing", " x = 1", "def f(", "\0", "x = '\ud800", "(" * 5000, "-" * 100_000 + "1"])
def test_invalid_syntax(code: str) -> None:
    assert not syntax_valid(code)


def test_syntax_valid_runs_nothing(tmp_path: Path) -> None:
    assert syntax_valid(f"open({str(tmp_path / 'trace')!r}, 'w')")
    assert not list(tmp_path.iterdir())


def test_all_empty_completions_are_exactly_zero() -> None:
    scores = score_text([("", ["x = 1"]), (" \n", ["# only a comment", "y"])])
    assert set(scores.metrics) == set(METRICS)
    assert set(scores.metrics.values()) == {0.0}
    assert {value for sample in scores.samples for value in sample.values()} == {0.0}


def test_equal_texts_are_exactly_one() -> None:
    scores = score_text([("x", ["x"]), ("f(x)", ["g(y)", "f(x)"]), ("def f(a):\n    return a + 1", ["def f(a):\n    return a + 1"])])
    assert {name: value for name, value in scores.metrics.items() if name != "codebleu"} == dict.fromkeys(set(METRICS) - {"codebleu"}, 1.0)
    assert [sample["sentence_bleu"] for sample in scores.samples] == [1.0, 1.0, 1.0]
    assert 0 < scores.metrics["codebleu"] < 1  # the published convention gives short texts less


def test_names_signatures_and_parts() -> None:
    scores = score_text([("f(x)", ["f(y)"])])
    assert list(scores.metrics) == list(METRICS)
    assert set(scores.samples[0]) == set(METRICS) - {"bleu"} | {"sentence_bleu"}
    assert set(scores.signatures) == set(METRICS) | {"sentence_bleu"}
    assert len(set(scores.signatures.values())) == len(scores.signatures)
    assert set(scores.parts) == {"codebleu", "codebleu_lexed"}
    assert scores.parts["codebleu"].total == scores.metrics["codebleu"]


def test_chosen_metrics_only() -> None:
    scores = score_text([("x = 1", ["x = 2"])], ["rouge_l", "bleu"])
    assert list(scores.metrics) == ["rouge_l", "bleu"]
    assert scores.parts == {}


def test_chrf_with_references_of_different_number() -> None:
    scores = score_text([("abc", ["abc"]), ("xyz", ["uvw", "xyz"])], ["chrf"])
    assert scores.metrics["chrf"] == 1.0
    assert [sample["chrf"] for sample in scores.samples] == [1.0, 1.0]
    assert 0 < score_text([("sorted(xs)", ["sorted(ys)"])], ["chrf"]).metrics["chrf"] < 1


@pytest.mark.parametrize(
    ("pairs", "metrics", "message"),
    [
        ([("x", ["x"])], ["rouge"], "unknown text metric 'rouge': did you mean 'rouge_l'"),
        ([], None, "no completions to score"),
        ([("x", ["x"]), ("y", [])], None, "completion 1 has no list of references"),
        ([("x", "x")], None, "completion 0 has no list of references"),
    ],
)
def test_mistakes_are_one_line(pairs: list[tuple[str, list[str]]], metrics: list[str] | None, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        score_text(pairs, metrics)
    assert "\n" not in str(caught.value)


@settings(deadline=None, max_examples=50)
@given(st.lists(st.tuples(CODE, st.lists(CODE, min_size=1, max_size=2)), min_size=1, max_size=3))
def test_everything_stays_within_bounds(pairs: list[tuple[str, list[str]]]) -> None:
    scores = score_text(pairs)
    values = [*scores.metrics.values(), *(value for sample in scores.samples for value in sample.values())]
    assert all(0 <= value <= 1 for value in values)
    same = score_text([(references[0], references) for _, references in pairs]).samples
    for (_, references), sample in zip(pairs, same, strict=True):
        assert sample["edit_similarity"] == float(bool(references[0].strip()))
        assert sample["exact_match"] == float(bool(normalise(references[0])))
        assert sample["rouge_l"] == float(bool(code_tokens(references[0])))


def test_scoring_needs_neither_torch_nor_sacrebleu_nor_scipy_to_start() -> None:
    program = (
        "import sys, codetune.score.text, codetune.score.statistics, codetune.score.pass_at_k;"
        "print([name for name in ('torch', 'transformers', 'sacrebleu', 'scipy') if name in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.strip() == "[]"
