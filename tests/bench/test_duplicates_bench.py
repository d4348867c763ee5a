"""The duplicates benchmark's own arithmetic: which pairs are true, how copies are made, what the tables say."""

from __future__ import annotations

import argparse
import random
from pathlib import Path
from typing import Any

import pytest

from bench.duplicates import add_arguments, make_record, report, run
from bench.ours_duplicates import measure
from bench.similar_files import edited, exact_pairs, pair_f1, read_texts, with_copies
from codetune.errors import UserError

ALPHABET = "a b c d e f g h i j k l m n o p q r s t u v w x y z"  # 22 runs of five words


def test_true_pairs_are_counted_by_their_runs_of_five_words() -> None:
    texts = [ALPHABET, ALPHABET.upper() + " 1 2 3", "a b", "B, a", "a; b", ALPHABET.replace("m", "-x-")]
    assert exact_pairs(texts, 22 / 25) == {(0, 1), (2, 4)}  # 22 of 25 runs shared
    assert exact_pairs(texts, 22 / 25 + 1e-9) == {(2, 4)}
    assert exact_pairs(texts, 17 / 27) == {(0, 1), (0, 5), (2, 4)}  # 17 of 27: one word changes five runs
    assert (1, 5) in exact_pairs(texts, 17 / 30)
    assert (1, 5) not in exact_pairs(texts, 17 / 30 + 1e-9)


def test_copies_have_the_share_of_words_replaced() -> None:
    text = " ".join(f"(word{number})," for number in range(5000))
    copy = edited(random.Random(0), text, 0.04)
    assert 150 < copy.count("new") < 250
    assert len(copy.split()) == 5000
    everything = with_copies([text, "too short"], 3)
    assert everything[:2] == [text, "too short"]
    assert len({*everything[2:], text}) == 4
    assert everything == with_copies([text, "too short"], 3)


def test_files_are_drawn_alike_each_time_and_have_words(tmp_path: Path) -> None:
    files = [tmp_path / f"{number}.py" for number in range(9)]
    for number, path in enumerate(files):
        path.write_text("#\n" if number < 3 else f"x = {number}\n")
    assert len(set(read_texts(files, 5))) == 5
    assert read_texts(files, 5) == read_texts(files, 5) == read_texts(files, 9)[:5]


def test_f1_of_pairs() -> None:
    assert pair_f1({(0, 1), (0, 2)}, {(0, 1), (3, 4), (5, 6)}) == {"precision": 0.5, "recall": 1 / 3, "f1": 0.4}
    assert pair_f1(set(), {(0, 1)})["f1"] == 0


def test_codetune_finds_what_is_true() -> None:
    texts = with_copies([" ".join(f"w{number}{place}" for place in range(200)) for number in range(12)], 24)
    truth = exact_pairs(texts, 0.7)
    found = measure(texts, "pairs", 0.7)
    assert 10 <= len(truth) == found["num_pairs"]
    assert set(found["pairs"]) == truth
    assert measure(texts, "speed", 0.7)["pairs"] == []


def test_the_report_compares_the_fastest_runs() -> None:
    def runs(*seconds: float) -> list[dict[str, Any]]:
        steps = {"shingles": 0.5}
        return [
            {"cpu_seconds": each, "steps": steps, "num_pairs": 2, "deciding": 0.25, "versions": {"numpy": "2"}, "pairs": [], "kept": []}
            for each in seconds
        ]

    labelled = {"codetune": runs(1), "datasketch": runs(1)}
    labelled["codetune"][0]["pairs"], labelled["datasketch"][0]["pairs"] = [(0, 1)], [(0, 1), (1, 2)]
    record = make_record(0.7, ["x"] * 8, {"codetune": runs(2, 1), "datasketch": runs(16, 20)}, (3, {(0, 1)}), labelled)
    assert record["codetune_is_faster_by"] == {"datasketch": 16}
    assert {name: each["f1"] for name, each in record["accuracy"].items()} == {
        "codetune": 1, "datasketch": 2 / 3, "datasketch, estimate at the threshold": 0,
    }  # fmt: skip
    said = report({**record, "load": [1.0]})
    assert "| codetune | 8 |  | 2 | shingles 0.50 |\n| datasketch | 0 | 16.0x | 2 | shingles 0.50 |" in said
    assert "| datasketch | 0.5000 | 1.0000 | 0.6667 |" in said


@pytest.mark.parametrize(("flag", "value"), [("--files", "-1"), ("--sample", "3"), ("--threshold", "1.5")])
def test_options_that_cannot_work_are_refused(flag: str, value: str) -> None:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    with pytest.raises(UserError, match=rf"{flag} {value}.*: expected"):
        run(parser.parse_args([flag, value]))
