"""From sources to a prepared folder, through every stage, on small files: what stays, what is said of it, always the same."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml

from codetune.cli.main import run
from codetune.config import InfillingConfig
from codetune.data import basics
from codetune.data.prepared.make import prepare
from codetune.data.prepared.read import files_of, read_file, read_manifest
from codetune.data.prepared.tokens import make_tokens
from codetune.data.training import Maker
from codetune.data_recipe import DataRecipe
from codetune.errors import UserError
from codetune.prompts.infill import Infilling, choose_marks
from codetune.prompts.template import make_template
from tests.data.token_shards import Words

WORDS = ["alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta", "iota", "kappa", "mu", "nu", "xi", "pi", "rho", "tau"]


def function(number: int) -> str:
    """A small function that is like no other."""
    names = [f"{WORDS[(number * step + step) % len(WORDS)]}_{number * step}" for step in range(1, 12)]
    body = "\n".join(f"    {name} = {names[at - 1]} * {number + at}" for at, name in enumerate(names) if at)
    return f"def work_{number}({names[0]}):\n{body}\n    return {names[-1]}\n"


def pairs(count: int, first: int = 0) -> list[dict[str, Any]]:
    return [{"instruction": f"Please write the function work_{n}.", "output": function(n)} for n in range(first, first + count)]


def write(path: Path, rows: list[Any]) -> Path:
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return path


def recipe(folder: Path, *sources: Any, **more: Any) -> DataRecipe:
    """A recipe over these sources (paths, or sections), compared with what ships with codetune alone."""
    listed = [one if isinstance(one, dict) else {"source": str(one)} for one in sources]
    tree = {"name": "mine", "sources": listed, "out": folder, "decontaminate": {"against": ["basics-known"]}, **more}
    return DataRecipe.model_validate(tree)


def bytes_of(folder: Path) -> dict[str, str]:
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and path.name != ".lock"]
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_what_stays_and_what_is_said_of_it(tmp_path: Path) -> None:
    leak = basics.load("known")[0]
    near = function(3).replace("return", "# the last line\n    return")
    file = write(
        tmp_path / "mine.jsonl",
        [*pairs(50), pairs(1)[0], {"instruction": "Please write the function work_3.", "output": near}, "{broken",
         {"instruction": leak.instruction, "output": leak.reference},
         {"instruction": "Write nothing at all, please.", "output": "def f(x):\n    return (x +\n"}],
    )  # fmt: skip
    manifest = prepare(recipe(tmp_path / "out", file, split={"validation": 0.1}))
    (source,) = manifest["sources"]
    assert source["rows"] == 55
    assert source["left_out"]["exact duplicate"] == source["left_out"]["near duplicate"] == source["left_out"]["bad row"] == 1
    assert source["left_out"]["overlaps a benchmark"] == 1
    assert sum(source["left_out"].values()) == 5
    assert source["documents"] == 50
    assert {name: split["documents"] for name, split in manifest["splits"].items()} == {"train": 45, "validation": 5, "test": 0}
    assert "line 53" in source["examples"]["bad row"][0]["where"]
    overlaps = [json.loads(line) for line in (tmp_path / "out" / "overlap.jsonl").read_text().splitlines()]
    assert ("basics-known", leak.task_id) in {(row["benchmark"], row["task_id"]) for row in overlaps}
    train = [document for path in files_of(tmp_path / "out", "train") for document in read_file(path)]
    held = [document for path in files_of(tmp_path / "out", "validation") for document in read_file(path)]
    assert {document.text for document in [*train, *held]} == {row["output"] for row in pairs(50)}
    card = (tmp_path / "out" / "README.md").read_text()
    head = yaml.safe_load(card.split("---")[1])
    assert head["configs"][0]["data_files"][0] == {"split": "train", "path": "train-*.parquet"}
    assert "exact duplicate" in card
    assert not (tmp_path / "out" / ".work").exists()


def test_the_folder_loads_with_the_datasets_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_OFFLINE", True)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    prepare(recipe(tmp_path / "out", write(tmp_path / "mine.jsonl", pairs(30)), split={"validation": 0.1}))
    loaded = datasets.load_dataset(str(tmp_path / "out"), cache_dir=str(tmp_path / "cache"))
    assert {name: len(split) for name, split in loaded.items()} == {"train": 27, "validation": 3}
    assert loaded["train"][0]["instruction"].startswith("Please write")


def test_the_same_bytes_for_one_process_or_two_and_after_a_kill(tmp_path: Path) -> None:
    file = write(tmp_path / "mine.jsonl", [*pairs(400), *pairs(20, first=5)])
    options: dict[str, Any] = {"documents_per_shard": 40, "split": {"validation": 0.1, "test": 0.1}}
    prepare(recipe(tmp_path / "one", file, **options), processes=1)
    prepare(recipe(tmp_path / "two", file, **options), processes=2)
    assert bytes_of(tmp_path / "one") == bytes_of(tmp_path / "two")
    path = tmp_path / "recipe.yaml"
    tree = json.loads(recipe(tmp_path / "killed", file, **options).model_dump_json())
    path.write_text(yaml.safe_dump(tree))
    command = [sys.executable, "-c", "from codetune.cli.main import main; main()", "data", "prepare", str(path), "--processes", "2"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True) as child:
        deadline = time.monotonic() + 60
        while len(list((tmp_path / "killed").glob(".work/*/part-*"))) < 3 and time.monotonic() < deadline:
            time.sleep(0.005)
        os.kill(child.pid, signal.SIGKILL)
    done = {path: path.stat().st_mtime_ns for path in (tmp_path / "killed").glob(".work/*/part-*")}
    assert len(done) >= 3
    assert not (tmp_path / "killed" / "manifest.json").exists()
    prepare(recipe(tmp_path / "killed", file, **options), processes=2)
    assert bytes_of(tmp_path / "killed") == bytes_of(tmp_path / "one")


def test_packed_rows_are_the_same_for_one_process_or_two(tmp_path: Path) -> None:
    files = write(tmp_path / "mine.jsonl", pairs(300)), write(tmp_path / "code.jsonl", [{"text": function(n) * 9} for n in range(400, 440)])
    options: dict[str, Any] = {"documents_per_shard": 40, "split": {"validation": 0.1}, "filters": {"parses": None}}
    marks = InfillingConfig(rate=0.5, tokens=("<P>", "<S>", "<M>"))
    infilling = Infilling(marks, choose_marks(marks, ()), seed=3)
    for name, processes in (("one", 1), ("two", 2)):
        prepare(recipe(tmp_path / name, *files, **options), processes)
        maker = Maker(make_template("instruction"), Words(), 1024, "completion", infilling)
        made = make_tokens(tmp_path / name, maker, processes, lambda done, files: None)
        assert made["train"]["examples"] > 306  # of 306 documents, of which code is cut
        assert 0.8 < made["train"]["fill"] <= 1
    assert bytes_of(tmp_path / "one") == bytes_of(tmp_path / "two")
    assert any("rows-train-1024/" in name for name in bytes_of(tmp_path / "one"))


def test_a_second_call_finds_it_and_another_recipe_is_refused(tmp_path: Path) -> None:
    file = write(tmp_path / "mine.jsonl", pairs(20))
    first = prepare(recipe(tmp_path / "out", file))
    made = (tmp_path / "out" / "manifest.json").stat().st_mtime_ns
    assert prepare(recipe(tmp_path / "out", file)) == first
    assert (tmp_path / "out" / "manifest.json").stat().st_mtime_ns == made
    with pytest.raises(UserError, match=r"holds data of another recipe \(split differs\).*remove it"):
        prepare(recipe(tmp_path / "out", file, split={"validation": 0.5}))
    write(file, pairs(21))
    with pytest.raises(UserError, match="its sources or benchmarks differ"):
        prepare(recipe(tmp_path / "out", file))


def test_a_code_base_is_another_one_when_its_licence_is(tmp_path: Path) -> None:
    code = tmp_path / "project"
    code.mkdir()
    for number in range(12):
        (code / f"m{number}.py").write_text(function(number))
    section = {"source": "code", "path": str(code), "make": "files"}
    options: dict[str, Any] = {"filters": {"min_file_bytes": None}}
    prepare(recipe(tmp_path / "out", section, **options))
    assert read_manifest(tmp_path / "out")["sources"][0]["licences"] == {"unknown": 12}
    (code / "pyproject.toml").write_text('[project]\nname = "x"\nlicense = "MIT"\n')
    with pytest.raises(UserError, match="its sources or benchmarks differ"):
        prepare(recipe(tmp_path / "out", section, **options))
    prepare(recipe(tmp_path / "again", section, **options))
    assert read_manifest(tmp_path / "again")["sources"][0]["licences"] == {"MIT": 12}


def test_weights(tmp_path: Path) -> None:
    twice, half = write(tmp_path / "twice.jsonl", pairs(50)), write(tmp_path / "half.jsonl", pairs(400, first=100))
    sources = [{"source": str(twice), "weight": 2}, {"source": str(half), "weight": 0.5}]
    prepare(recipe(tmp_path / "out", *sources, split={"validation": 0}))
    texts = [document.text for path in files_of(tmp_path / "out", "train") for document in read_file(path)]
    first = {row["output"] for row in pairs(50)}
    assert sum(text in first for text in texts) == 100
    assert 150 <= sum(text not in first for text in texts) <= 250
    assert read_manifest(tmp_path / "out")["splits"]["train"]["with_repeats"] == len(texts)


def test_of_duplicates_the_higher_rank_stays_and_a_held_out_one_above_all(tmp_path: Path) -> None:
    code = function(1)

    def row(content: str, repository: str, stars: int) -> dict[str, Any]:
        return {
            "content": content, "lang": "Python", "max_stars_count": stars, "max_stars_repo_name": repository,
            "max_stars_repo_path": "a.py",
        }  # fmt: skip

    copies = [row(code + "# one\n", "a/low", 5), row(code + "# two\n", "b/high", 50)]
    file = write(tmp_path / "stack.jsonl", [*copies, *(row(function(n), f"c/{n}", 1) for n in range(2, 9))])
    source = {"source": "the-stack", "path": str(file)}
    manifest = prepare(recipe(tmp_path / "out", source, split={"validation": 0}, filters={"min_file_bytes": None}))
    assert manifest["sources"][0]["left_out"]["near duplicate"] == 1
    kept = {document.group for path in files_of(tmp_path / "out", "train") for document in read_file(path)}
    assert any("high" in group for group in kept)
    assert not any("low" in group for group in kept)


@pytest.mark.parametrize("processes", [1, 2])
def test_only_the_first_so_many(tmp_path: Path, processes: int) -> None:
    """However many were begun meanwhile: the account is of those that it took."""
    file = write(tmp_path / "mine.jsonl", ["{broken", *pairs(200)])
    other = write(tmp_path / "other.jsonl", pairs(10, first=300))
    sources = [{"source": str(file), "max_documents": 25}, str(other)]
    manifest = prepare(recipe(tmp_path / "out", *sources, documents_per_shard=10, split={"validation": 0}), processes)
    first, second = manifest["sources"]
    assert (first["rows"], first["documents"], first["left_out"]) == (30, 25, {"beyond max_documents": 4, "bad row": 1})
    assert second["documents"] == 10
    texts = [document.text for path in files_of(tmp_path / "out", "train") for document in read_file(path)]
    assert texts == [row["output"] for row in [*pairs(25), *pairs(10, first=300)]]


def search_net(number: int, partition: str) -> dict[str, Any]:
    return {"code": function(number), "docstring": f"Work on number {number} here.", "repo": f"a/{number}", "partition": partition}


def test_a_sources_own_splits_stay_and_without_held_out_ones_of_its_own_they_are_dealt(tmp_path: Path) -> None:
    (tmp_path / "both").mkdir()
    (tmp_path / "alone").mkdir()
    for folder, files in (("both", ("train", "valid")), ("alone", ("train_0", "train_1"))):
        for index, name in enumerate(files):
            rows = [search_net(100 * index + n, "valid" if name == "valid" else "train") for n in range(50)]
            write(tmp_path / folder / f"{name}.jsonl", rows)
    counted = {}
    for folder in ("both", "alone"):
        source = {"source": "codesearchnet", "path": str(tmp_path / folder)}
        manifest = prepare(recipe(tmp_path / f"{folder}-out", source, split={"validation": 0.2}))
        counted[folder] = [manifest["splits"][split]["documents"] for split in ("train", "validation")]
    assert counted == {"both": [50, 50], "alone": [80, 20]}  # ids of row numbers in two files do not meet


def test_a_recipe_that_leaves_nothing_says_why(tmp_path: Path) -> None:
    file = write(tmp_path / "mine.jsonl", ["{broken", {"instruction": "Do it.", "output": "def f(x):\n    return (x +\n"}])
    with pytest.raises(UserError, match=r"nothing is left to train on: of 2 rows, 1 .*1 "):
        prepare(recipe(tmp_path / "out", file))
    with pytest.raises(UserError, match="line 1"):
        prepare(recipe(tmp_path / "out", file), strict=True)


def test_the_command_and_its_account(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = write(tmp_path / "mine.jsonl", [*pairs(30), "{broken"])
    path = tmp_path / "recipe.yaml"
    path.write_text(f"name: mine\nsources: [{{source: {file}}}]\nout: {tmp_path / 'out'}\ndecontaminate: {{against: [basics-known]}}\n")
    assert run(["data", "prepare", str(path), "--processes", "1"]) == 0
    out = capsys.readouterr().out
    assert "31 rows in, 30 documents out" in out
    assert "bad row" in out
    assert "line 31" in out
    assert run(["data", "stats", str(tmp_path / "out"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["sources"][0]["rows"] == 31
    assert run(["data", "stats", str(path), "--json", "--processes", "1"]) == 0
    assert json.loads(capsys.readouterr().out)["sources"][0]["rows"] == 31
    assert run(["data", "prepare", str(path), "--set", "sources.0.nonsense=1"]) == 2
    assert "nonsense" in capsys.readouterr().err
    assert run(["data", "prepare", str(path), "--strict", "--set", f"out={tmp_path / 'strict'}"]) == 2
    assert "line 31" in capsys.readouterr().err
    table = pq.read_table(tmp_path / "out" / "train-00000.parquet")
    assert {"instruction", "text", "licence", "repeats"} <= set(table.column_names)
