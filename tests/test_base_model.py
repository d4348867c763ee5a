"""The shipped model's whole way, on a small corpus and a tiny shape: prepare, train, ship, and ask it something."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from codetune.cli.main import run
from codetune.data import corpus
from codetune.runs import read_json
from codetune.train.ship import ship

MODULES = ("argparse", "bisect", "calendar", "cmd", "colorsys", "csv", "dataclasses", "fnmatch", "fractions", "gettext", "heapq", "inspect")


def test_from_installed_python_to_a_model_that_answers(
    data_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CODETUNE_DATA", str(data_folder))
    library = next(package for package in corpus.installed_packages() if package.name == "python-standard-library")
    files = tuple(path for path in library.files if path.stem in MODULES and path.parent.name.startswith("python"))
    assert len(files) == len(MODULES)
    monkeypatch.setattr(corpus, "installed_packages", lambda: [corpus.Package(library.name, library.version, library.licence, files)])
    monkeypatch.setattr(corpus, "HELD_OUT_ONE_IN", 5)
    data, recipe, target = tmp_path / "run" / "data", tmp_path / "tiny.yaml", tmp_path / "shipped"
    tree = {
        "name": "tiny", "model": str(data / "tokenizer"), "out": str(tmp_path / "run"),
        "architecture": {
            "hidden_size": 16, "num_layers": 1, "num_heads": 2, "intermediate_size": 32, "max_positions": 256, "vocab_size": 400
        },
        "data": {"source": "corpus", "path": str(data), "loss_on": "all"},
        "method": {"name": "full", "learning_rate": 0.001},
        "train": {"train_tokens": 4000, "max_seq_len": 128, "batch_tokens": 1024, "optimizer": "muon", "keep": "last", "validations": 1},
    }  # fmt: skip
    recipe.write_text(yaml.safe_dump(tree))
    assert run(["data", "prepare", str(recipe)]) == 0
    manifest = read_json(data / "manifest.json")
    assert [package["name"] for package in manifest["packages"]] == ["python-standard-library"]
    assert list(manifest["tokens_by_kind"]) == ["edits", "pairs", "functions", "files"]
    assert sum(manifest["tokens_by_kind"].values()) == manifest["train_tokens"] >= 4000
    assert manifest["held_out_bytes"] > 0
    assert run(["train", str(recipe)]) == 0
    ship(tmp_path / "run", target)
    card = (target / "README.md").read_text()
    assert f"| edits of functions: rename, change a number, complete | {manifest['tokens_by_kind']['edits']:,} |" in card
    assert "bits per byte" in card
    assert json.loads((target / "manifest.json").read_text()) == manifest
    capsys.readouterr()
    assert run(["evaluate", "--model", str(target), "--benchmark", "basics-known", "--limit", "2", "--max-new-tokens", "8", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["num_problems"] == 2
