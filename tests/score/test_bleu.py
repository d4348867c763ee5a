"""BLEU: the CoNaLa challenge's number, CodeXGLUE's two numbers, and the edges where usual packages break."""

from __future__ import annotations

import doctest
import json
import math
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codetune.score import bleu as module
from codetune.score.bleu import (
    CODEXGLUE_CODE_TO_TEXT,
    CODEXGLUE_TEXT_TO_CODE,
    CONALA,
    SENTENCE,
    bleu,
    codexglue_text_tokens,
    conala_tokens,
    sentence_bleu,
)
from codetune.score.text import CONVENTIONS, score_text

REFERENCES = [
    "sorted(l, key=lambda x: (-int(x[1]), x[0]))",
    "os.kill(os.getpid(), signal.SIGUSR1)",
    "df['a'] = df['b'].apply(lambda x: x + 1)",
]
HYPOTHESES = [
    "sorted(l, key=lambda x: (int(x[1]), x[0]))",
    "os.kill(os.getpid(), signal.SIGTERM)",
    "df['a'] = df['b'].map(lambda x: x + 1)",
]
CORPUS = [(hypothesis, [reference]) for hypothesis, reference in zip(HYPOTHESES, REFERENCES, strict=True)]
CODE = st.text(alphabet="abcXY_01 ()=.+'\"\n\té", max_size=40)


def test_doctests() -> None:
    assert doctest.testmod(module).failed == 0


def test_conala_vector() -> None:
    assert bleu(CORPUS) == pytest.approx(0.87914163, abs=1e-8)


def test_the_same_corpus_under_other_conventions() -> None:
    found = score_text(CORPUS, ["bleu", "bleu_13a", "bleu_whitespace"]).metrics
    assert {name: round(100 * value, 4) for name, value in found.items()} == {
        "bleu": 87.9142,
        "bleu_13a": 86.5868,
        "bleu_whitespace": 40.4553,
    }


def test_conventions_are_computed_only_where_asked_for() -> None:
    assert not set(score_text(CORPUS).metrics) & set(CONVENTIONS)
    found = score_text([*CORPUS, ("", ["x"])], list(CONVENTIONS))
    assert list(found.metrics) == list(found.samples[0]) == list(found.signatures) == list(CONVENTIONS)
    assert all(0 < value < 1 for value in found.metrics.values())
    assert set(found.samples[-1].values()) == {0.0}


def test_codexglue_text_to_code_vector(data_folder: Path) -> None:
    folder = data_folder / "codexglue_text"
    answers = [json.loads(line)["code"] for line in (folder / "text-to-code.answers.json").read_text().splitlines()]
    completions = (folder / "text-to-code.predictions.txt").read_text().splitlines()
    pairs = [(completion, [answer]) for completion, answer in zip(completions, answers, strict=True)]
    assert round(100 * bleu(pairs, CODEXGLUE_TEXT_TO_CODE), 2) == 16.68


def test_codexglue_code_to_text_vector(data_folder: Path) -> None:
    def rows(name: str) -> dict[str, str]:
        lines = (data_folder / "codexglue_text" / name).read_text().splitlines()
        return dict(line.split("\t", 1) for line in lines)

    references = rows("code-to-text.reference.txt")
    pairs = [(text, [references[key]]) for key, text in rows("code-to-text.predictions.txt").items()]
    assert 100 * bleu(pairs, CODEXGLUE_CODE_TO_TEXT) == pytest.approx(9.554726113590661, abs=1e-12)


def test_conala_references_against_themselves_are_exactly_one(data_folder: Path) -> None:
    snippets = [row["snippet"] for row in json.loads((data_folder / "conala" / "conala-test.json").read_text())]
    assert len(snippets) == 500
    assert bleu([(snippet, [snippet]) for snippet in snippets]) == 1.0


def test_two_pairs_by_hand() -> None:
    # sorted ( xs ) and max ( xs ) against min ( xs ): 7 of 8, 5 of 6, 3 of 4 and 1 of 2 n-grams match
    expected = (7 / 8 * 5 / 6 * 3 / 4 * 1 / 2) ** 0.25
    assert bleu([("sorted(xs)", ["sorted(xs)"]), ("max(xs)", ["min(xs)"])]) == pytest.approx(expected, rel=1e-14)


def test_brevity_penalty_by_hand() -> None:
    assert bleu([("a b c d", ["a b c d e f"])]) == pytest.approx(math.exp(1 - 6 / 4), rel=1e-14)


def test_closest_reference_length_counts_and_matches_are_clipped() -> None:
    assert bleu([("a b c d", ["a b c d e f g h", "a b c d x"])]) == pytest.approx(math.exp(1 - 5 / 4), rel=1e-14)
    # "a" is matched twice at most: 2/4, then 1/3 of the bigrams, none of the longer
    counts = CONALA.counts([("a a a a", ["a a"])])[0]
    assert counts[:4].tolist() == [2, 1, 0, 0]
    assert bleu([("a a a a", ["a a"])]) == 0.0


def test_sentence_bleu_by_hand() -> None:
    # max ( xs ) against min ( xs ): unigrams 3/4 unsmoothed, then (2+1)/(3+1), (1+1)/(2+1), (0+1)/(1+1)
    assert sentence_bleu("max(xs)", ["min(xs)"]) == pytest.approx((3 / 4 * 3 / 4 * 2 / 3 * 1 / 2) ** 0.25, rel=1e-14)


@pytest.mark.parametrize("variant", [CONALA, SENTENCE, CODEXGLUE_TEXT_TO_CODE, CODEXGLUE_CODE_TO_TEXT])
def test_empty_completions_are_exactly_zero(variant: module.BleuVariant) -> None:
    assert bleu([("", ["x = 1"]), (" \n", ["y"])], variant) == 0.0
    assert bleu([], variant) == 0.0


@pytest.mark.parametrize("text", ["x", "x = 1", "pass", "f()"])
def test_texts_shorter_than_four_tokens_equal_themselves(text: str) -> None:
    assert bleu([(text, [text])]) == 1.0
    assert sentence_bleu(text, [text]) == 1.0


def test_signatures_differ_and_name_their_rules() -> None:
    variants = [CONALA, SENTENCE, CODEXGLUE_TEXT_TO_CODE, CODEXGLUE_CODE_TO_TEXT]
    assert len({variant.signature for variant in variants}) == 4
    assert "tok:conala_tokens|smooth:none|level:corpus" in CONALA.signature


@given(CODE)
def test_conala_tokens_are_the_official_ones(code: str) -> None:
    spaced = re.sub(r"([a-z])([A-Z])", r"\1 \2", re.sub(r"([^A-Za-z0-9_])", r" \1 ", code))
    official = [token for token in re.sub(r"\s+", " ", spaced).replace('"', "`").replace("'", "`").split(" ") if token]
    assert conala_tokens(code) == official


def test_code_to_text_tokens() -> None:
    assert codexglue_text_tokens("Don't use foo_bar(1.5)!") == ["don", "'", "t", "use", "foo", "_", "bar", "(", "1", ".", "5", ")", "!"]


@given(st.lists(st.tuples(CODE, st.lists(CODE, min_size=1, max_size=3)), max_size=4))
def test_bleu_is_bounded_and_whole_for_equal_texts(pairs: list[tuple[str, list[str]]]) -> None:
    assert 0 <= bleu(pairs) <= 1
    assert all(0 <= sentence_bleu(completion, references) <= 1 for completion, references in pairs)
    same = [(references[0], references) for _, references in pairs]
    assert bleu(same) == (1.0 if any(conala_tokens(text) for text, _ in same) else 0.0)
