"""What a run is trained on: documents in memory or a prepared folder, less what overlaps the test, as examples."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from codetune.config import DataConfig, DecontaminateConfig, InfillingConfig
from codetune.data import basics
from codetune.data.prepared.make import prepare
from codetune.data.training import Maker, data_hash, documents_of, names_of, tokenise_documents, training_data
from codetune.data_recipe import DataRecipe
from codetune.errors import UserError
from codetune.prompts.infill import Infilling, choose_marks
from codetune.prompts.template import make_template
from codetune.records import Document, Message
from tests.data.token_shards import Words

AGAINST = DecontaminateConfig(against=("basics-known",))
WORDS = ["alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta", "iota", "kappa"]


def rows(count: int) -> list[dict[str, Any]]:
    said = [(WORDS[n % 10], WORDS[n // 10], n) for n in range(count)]
    return [{"instruction": f"Say {one} and {two} {n} times.", "output": f"print('{one}', '{two}', {n})"} for one, two, n in said]


def prepared(folder: Path, against: list[str], drop: bool = True) -> str:
    """A prepared folder of 40 pairs and one problem of the test among them."""
    leak = basics.load("known")[0]
    file = folder / "mine.jsonl"
    listed = [*rows(40), {"instruction": leak.instruction, "output": leak.reference}]
    file.write_text("".join(json.dumps(row) + "\n" for row in listed))
    tree = {
        "name": "mine", "sources": str(file), "out": folder / "out", "split": {"validation": 0.1}, "duplicates": {"near": False},
        "documents_per_shard": 10, "decontaminate": {"against": against, "drop": drop},
    }  # fmt: skip
    prepare(DataRecipe.model_validate(tree))
    return str(folder / "out")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CODETUNE_CACHE", str(tmp_path / "cache"))


def test_a_prepared_folder_is_read_file_by_file(tmp_path: Path) -> None:
    source = prepared(tmp_path, ["basics-known"])
    data = training_data(DataConfig(source=source, validation_examples=3))
    assert all(isinstance(shard, Path) for shard in data.train)
    assert len(list(data.documents())) == 36
    assert sum(len(list(documents_of(shard))) for shard in data.validation) == 3
    few = training_data(DataConfig(source=source, max_examples=5))
    assert [one.id for one in few.documents()] == [one.id for one in data.documents()][:5]
    with pytest.raises(UserError, match="no split 'dev'"):
        training_data(DataConfig(source=source, split="dev"))


def test_it_is_searched_for_overlap_only_where_that_was_not_done(tmp_path: Path) -> None:
    """A search leaves what it found in the cache."""
    clean = prepared(tmp_path, ["basics-known"])
    found = training_data(DataConfig(source=clean), AGAINST)
    assert (found.overlap.documents, found.overlap.left_out, found.overlap.found) == (36, True, ())

    searches = [0]
    for more in ({}, {"against": ("basics-unseen",)}, {"run_words": 9}, {"drop": False}):
        training_data(DataConfig(source=clean), AGAINST.model_copy(update=more))
        searches.append(len(list((tmp_path / "cache").glob("overlaps-*"))))
    assert searches[0] == searches[1] < searches[2] < searches[3]


def test_what_was_kept_is_left_out_when_a_study_asks(tmp_path: Path) -> None:
    source = prepared(tmp_path, ["basics-unseen"])
    plain = training_data(DataConfig(source=source))
    asked = training_data(DataConfig(source=source), AGAINST)
    (gone,) = asked.left_out
    assert asked.overlap.tasks("basics-known")
    assert [one.id for one in asked.documents()] == [one.id for one in plain.documents() if one.id != gone]
    maker = Maker(make_template("instruction"), Words(), 400)
    without = Maker(make_template("instruction"), Words(), 400, left_out=asked.left_out)
    assert len(tokenise_documents(asked.train, without)) == len(tokenise_documents(plain.train, maker)) - 1


def test_the_hash_is_of_the_documents(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    one, other = prepared(tmp_path / "a", ["basics-known"]), prepared(tmp_path / "b", ["basics-unseen"])
    assert data_hash(DataConfig(source=one)) != data_hash(DataConfig(source=other))
    assert data_hash(DataConfig(source=one)) == data_hash(DataConfig(source=one, loss_on="all"))


def test_code_is_cut_and_pairs_and_conversations_are_not() -> None:
    text = " ".join(f"x{n} = {n};" for n in range(60))
    turns = (Message("user", "Hi."), Message("assistant", text))
    documents = (Document("code", text=text), Document("pair", instruction="Say it.", text=text), Document("chat", messages=turns))
    made = tokenise_documents((documents,), Maker(make_template("instruction"), Words(), 100))
    whole = [*Words().encode_continuation(text), 0]
    assert made.ids.tolist() == whole
    assert (made.dropped_long, made.continued, len(made)) == (2, len(made) - 1, -(-len(whole) // 100))
    assert made.supervised.all()
    with pytest.raises(UserError, match="none of 1 examples fits max_seq_len=100 tokens"):
        tokenise_documents((documents[1:2],), Maker(make_template("instruction"), Words(), 100))


def test_examples_know_their_documents() -> None:
    """Of code that was cut, of what comes after a document that was too long, and of several shards."""
    long, short = (" ".join(f"x{n} = {n};" for n in range(count)) for count in (60, 5))
    shards = (
        (Document("cut", text=long, origin="a.py"), Document("gone", instruction="Say it.", text=long)),
        (Document("pair", instruction="Say it.", text=short), Document("last", text=short)),
    )
    maker = Maker(make_template("instruction"), Words(), 100)
    made = tokenise_documents(shards, maker)
    assert (made.dropped_long, len(made)) == (1, 7)
    assert names_of(range(7), shards, maker) == ["cut (a.py)"] * 5 + ["pair", "last"]
    assert names_of([5, 2], shards, maker) == ["cut (a.py)", "pair"]
    assert names_of([], shards, maker) == []


def test_holes_and_their_seed_are_part_of_the_key(tmp_path: Path) -> None:
    config = InfillingConfig(rate=1.0, tokens=("<P>", "<S>", "<M>"))
    shards = (tuple(Document(f"{n}", text=f"a{n} = {n}\nb{n} = a{n}\n", source="s") for n in range(20)),)
    made = [
        tokenise_documents(shards, Maker(make_template("instruction"), Words(), 100, infilling=infilling)).ids.tolist()
        for infilling in (None, *(Infilling(config, choose_marks(config, ()), seed) for seed in (0, 1, 0)))
    ]
    assert made[1] == made[3]
    assert len({tuple(ids) for ids in made}) == 3
    assert len(list((tmp_path / "cache").glob("tokens-*"))) == 3
