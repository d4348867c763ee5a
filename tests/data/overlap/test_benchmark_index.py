"""The base model's rule: thirteen words in a row, however they are written, and nothing less."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codetune.data.overlap.benchmark_index import BenchmarkIndex
from codetune.records import Problem

WORDS = [f"word{number}" for number in range(40)]


def index(text: str, name: str = "bench") -> BenchmarkIndex:
    made = BenchmarkIndex()
    made.add(name, [text])
    return made


@pytest.mark.parametrize(("shared", "found"), [(12, ""), (13, "bench"), (14, "bench")])
def test_thirteen_words_in_a_row(shared: int, found: str) -> None:
    text = " ".join(["before", *WORDS[5 : 5 + shared], "after"])
    assert index(" ".join(WORDS)).overlap(text) == found


@pytest.mark.parametrize(("length", "found"), [(7, ""), (8, "bench"), (12, "bench")])
def test_short_benchmark_texts_count_as_a_whole(length: int, found: str) -> None:
    """From eight words on; then only all of them in a row are an overlap."""
    short = index(" ".join(WORDS[:length]))
    assert short.overlap("so " + " ".join(WORDS[:length]) + " it is") == found
    assert short.overlap(" ".join(WORDS[: length - 1])) == ""


def test_case_signs_and_line_ends_do_not_hide_words() -> None:
    assert index(" ".join(WORDS[:13])).overlap(",\n\t(".join(word.upper() for word in WORDS[:13])) == "bench"


def test_order_counts() -> None:
    assert index(" ".join(WORDS[:13])).overlap(" ".join(reversed(WORDS[:13]))) == ""


@pytest.mark.parametrize("text", ["", "  \n", "+-*/"])
def test_text_without_words_overlaps_nothing(text: str) -> None:
    assert index(" ".join(WORDS)).overlap(text) == ""
    assert index(text).overlap(" ".join(WORDS)) == ""


def test_names_the_benchmark_and_takes_all_parts_of_a_problem() -> None:
    made = BenchmarkIndex()
    parts = [" ".join(f"{part}{number}" for number in range(13)) for part in "abc"]
    made.add_problems("first", [Problem("1", instruction=parts[0], prompt=parts[1], reference=parts[2])])
    made.add("second", [" ".join(WORDS)])
    assert [made.overlap(part) for part in parts] == ["first"] * 3
    assert made.overlap(" ".join(WORDS)) == "second"
    made.add("third", [" ".join(f"late{number}" for number in range(20))])  # after a look-up, too
    assert made.overlap(" ".join(f"late{number}" for number in range(20))) == "third"


@given(st.lists(st.sampled_from("abc"), max_size=60), st.lists(st.sampled_from("abc"), max_size=60))
def test_agrees_with_comparing_all_runs(benchmark: list[str], document: list[str]) -> None:
    length = min(13, len(benchmark))
    runs = {tuple(benchmark[at : at + length]) for at in range(len(benchmark) - length + 1)} if length >= 8 else set()
    wanted = any(tuple(document[at : at + length]) in runs for at in range(len(document) - length + 1))
    assert bool(index(" ".join(benchmark)).overlap(" ".join(document))) == wanted
