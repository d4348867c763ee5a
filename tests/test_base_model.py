"""The shipped model's whole way, on a small corpus and a tiny shape: prepare, train, stop, go on, ship, cut, join, ask."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from transformers import AutoTokenizer

from codetune.cli.main import run
from codetune.config import Architecture, TrainRecipe, load_recipe
from codetune.data import corpus
from codetune.data.tokenise import load_examples
from codetune.errors import Terminated
from codetune.models.load import TextTokenizer
from codetune.pretraining import ladder, pieces, score_card
from codetune.pretraining.make import Making, main, parse
from codetune.runs import read_json
from codetune.train.finetune import finetune
from codetune.train.resume import has_checkpoint

MODULES = ("bisect", "cmd", "colorsys", "csv", "fnmatch", "gettext", "heapq", "shlex", "textwrap", "timeit")

RECIPE = Path(__file__).resolve().parent.parent / "recipes" / "base-model-gpu.yaml"


@pytest.fixture
def recipe(data_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CODETUNE_DATA", str(data_folder))
    library = next(package for package in corpus.installed_packages() if package.name == "python-standard-library")
    files = tuple(path for path in library.files if path.stem in MODULES and path.parent.name.startswith("python"))
    assert len(files) == len(MODULES)
    monkeypatch.setattr(corpus, "installed_packages", lambda: [corpus.Package(library.name, library.version, library.licence, files)])
    monkeypatch.setattr(corpus, "HELD_OUT_ONE_IN", 5)
    data = tmp_path / "run" / "data"
    tree = {
        "name": "tiny", "model": str(data / "tokenizer"), "out": str(tmp_path / "run"),
        "architecture": {
            "hidden_size": 16, "num_layers": 1, "num_heads": 2, "intermediate_size": 32, "max_positions": 512, "vocab_size": 400
        },
        "data": {"source": "corpus", "path": str(data), "loss_on": "all", "infilling": {"rate": 0.5}},
        "method": {"name": "full", "learning_rate": 0.001},
        "train": {"train_tokens": 20_000, "max_seq_len": 512, "batch_tokens": 4096, "optimizer": "muon", "keep": "last", "validations": 1},
    }  # fmt: skip
    path = tmp_path / "tiny.yaml"
    path.write_text(yaml.safe_dump(tree))
    return path


def test_from_installed_python_to_a_model_that_answers(recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder, data = tmp_path / "run", tmp_path / "run" / "data"
    told = [str(recipe), "--rungs", "1", "--rung-tokens", "4096", "--prompts", "5"]
    assert main([*told, "--until", "prepared"]) == 0
    manifest = read_json(data / "manifest.json")
    assert [package["name"] for package in manifest["packages"]] == ["python-standard-library"]
    assert list(manifest["tokens_by_kind"]) == ["edits", "pairs", "functions", "files"]
    assert sum(manifest["tokens_by_kind"].values()) == manifest["train_tokens"] >= 20_000
    assert manifest["held_out_bytes"] > 0
    assert {"humaneval", "mbpp-all", "basics-unseen"} <= set(manifest["decontaminated_against"])

    assert_holes_are_learned_and_their_marks_are_not(data)

    making = Making(load_recipe(recipe, TrainRecipe, []), folder, parse([str(recipe), "--time-limit", "1e-9"]), {})
    with pytest.raises(Terminated):  # what the run is told after its first step
        finetune(making.recipe, folder, making.watch("run"))
    assert has_checkpoint(folder)
    assert main(told) == 0
    said = capsys.readouterr().err
    assert "run: step 1 of 5" in said
    assert said.count("run: step 2 of 5") == 1
    assert read_json(folder / "train.json")["steps"] == 5
    assert list(read_json(folder / "make.json")["ladder"]) == ["start"]

    target = tmp_path / "joined"
    assert pieces.main(["join", str(folder / "pieces"), str(target)]) == 0
    card = (target / "README.md").read_text()
    assert f"| edits of functions: rename, change a number, complete | {manifest['tokens_by_kind']['edits']:,} |" in card
    assert "| bits per byte, held out, pieces of 512 tokens |" in card
    assert "| continuations of 50 tokens copied from the corpus, of 5 |" in card
    assert "fill-in-the-middle" in card
    assert json.loads((target / "manifest.json").read_text()) == manifest
    scores = read_json(target / "score_card.json")
    mine, old = (scores["models"][scores[role]] for role in ("model", "replaces"))
    assert old["held_out"]["bits_per_byte"] < mine["held_out"]["bits_per_byte"]  # the shipped model has read more than five steps' text
    capsys.readouterr()
    assert run(["evaluate", "--model", str(target), "--benchmark", "basics-known", "--limit", "2", "--max-new-tokens", "8", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["num_problems"] == 2


def assert_holes_are_learned_and_their_marks_are_not(data: Path) -> None:
    """Half of the files' pieces or so have a hole: its marks stand in them as tokens, none of which is predicted under the loss."""
    examples, tokenizer = load_examples(data / "train"), TextTokenizer(AutoTokenizer.from_pretrained(str(data / "tokenizer")))
    marks = {tokenizer.vocabulary[f"<fim_{part}>"] for part in ("prefix", "suffix", "middle")}
    assert tokenizer.infill_marks is not None
    holed = 0
    for index in range(len(examples)):
        ids, counts = examples.example(index).tolist(), examples.supervised[examples.offsets[index] : examples.offsets[index + 1]]
        assert [token not in marks for token in ids] == counts.tolist()
        if marks & set(ids):
            holed += 1
            assert sorted(token for token in ids if token in marks) == sorted(marks)
            assert ids[-1] == tokenizer.eos_id
    told = read_json(data / "manifest.json")["infilling"]
    assert told == {"rate": 0.5, "pieces": holed, "of": len(examples)}
    assert holed > 3
    held_out = load_examples(data / "held_out")
    assert not marks & set(held_out.ids.tolist())


def test_rungs_differ_in_what_they_say_and_in_nothing_else(tmp_path: Path) -> None:
    start = load_recipe(RECIPE, TrainRecipe, [])
    for rung in (*ladder.RUNGS, ladder.VOCABULARY):
        found = rung.trial(start, tmp_path / rung.name, 5000)
        assert found.architecture is not None
        assert found.architecture.model_dump() == start.architecture.model_dump() | dict(rung.shape)  # type: ignore[union-attr]
        assert found.method.learning_rate == start.method.learning_rate * rung.rate
        assert found.train.train_tokens == 5000
        same = found.data.path == start.data.path
        assert same == ("vocab_size" not in dict(rung.shape))
        assert found.model == str(found.data.path / "tokenizer")  # type: ignore[operator]
        assert 8_000_000 < parameters(found.architecture) < 16_000_000  # at most 32 MB in bf16
    measured = {"a": {"bits_per_byte": 1.2}, "failed": {"failed": "why"}, "b": {"bits_per_byte": 1.1}, "c": {"bits_per_byte": 1.1}}
    assert (ladder.best(measured), ladder.best({"failed": {"failed": "why"}})) == ("b", "")


def parameters(shape: Architecture) -> int:
    """Of a Llama with tied embeddings."""
    layer = 4 * shape.hidden_size**2 + 3 * shape.hidden_size * shape.intermediate_size + 2 * shape.hidden_size
    return shape.vocab_size * shape.hidden_size + shape.num_layers * layer + shape.hidden_size


def test_the_score_card_reads_a_study_and_keeps_what_it_has(tmp_path: Path) -> None:
    for number, (row, share) in enumerate((("base", 0.0), ("full", 0.8), ("full", 0.6))):
        cell = tmp_path / "study" / "cells" / f"{row}-{number}"
        cell.mkdir(parents=True)
        found = {"cell": {"row": row}, "benchmarks": {"basics-known": {"pass_at_k": {"1": share}}, "conala": {"pass_at_k": {}}}}
        (cell / "result.json").write_text(json.dumps(found))
    assert score_card.of_study(tmp_path / "study") == {
        "base": {"basics-known": {"pass@1": 0.0, "seeds": 1}}, "full": {"basics-known": {"pass@1": pytest.approx(0.7), "seeds": 2}},
    }  # fmt: skip
    assert score_card.main(["codetune-base", "--out", str(tmp_path / "card.json"), "--study", str(tmp_path / "empty")]) == 2
    assert score_card.main(["codetune-base", "--out", str(tmp_path / "card.json"), "--study", str(tmp_path / "study")]) == 0
    card = read_json(tmp_path / "card.json")
    assert list(card["models"][card["model"]]) == ["parameters", "study"]  # nothing that was not measured
