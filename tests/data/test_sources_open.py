"""Sources are found where the recipe says, then in CODETUNE_DATA, then on the hub; what goes wrong is told in one line."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from codetune.data.hub import hub_chunks
from codetune.data.read import BadRow, rows
from codetune.data.sources import SOURCES, Hub, Opened, OpenedCode, documents, load_source, open_source, read_chunk
from codetune.data_recipe import SourceConfig
from codetune.errors import UserError
from codetune.records import Document

ALPACA = [{"instruction": f"Add {number}.", "output": f"x = {number}"} for number in range(7)]


@pytest.fixture
def real_data(data_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CODETUNE_DATA", str(data_folder))
    return data_folder


@pytest.fixture
def no_data(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CODETUNE_DATA", raising=False)


def write(path: Path, items: list[dict[str, Any]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(item) + "\n" for item in items))
    return path


def ids(found: Any) -> list[str]:
    return [each.id for each in found]


@pytest.mark.parametrize(
    ("name", "count"), [("conala", 2379), ("leetcode", 1570), ("mbpp", 464), ("codealpaca", 2015), ("codesearchnet", 100), ("basics", 5100)]
)
def test_real_data_sets(real_data: Path, name: str, count: int) -> None:
    bad: list[str] = []
    found = list(documents(SourceConfig(source=name), notice=lambda where, reason: bad.append(f"{where}: {reason}")))
    assert (len(found), bad) == (count, [])
    assert len(set(ids(found))) == count
    assert all(each.source == name and each.text and each.instruction for each in found)
    split = SourceConfig(source=name, split="train")
    assert len(list(documents(split))) == {"mbpp": 374, "basics": 4800}.get(name, count)


def test_what_is_learned_from_is_what_load_source_gave(real_data: Path) -> None:
    """Documents of the sources that were there before say the same."""
    for name in ("conala", "leetcode", "mbpp", "basics"):
        problems = load_source(name)
        found = documents(SourceConfig(source=name, split="train"))
        for problem, document in zip(problems, found, strict=True):
            assert document.problem == replace(problem, setup="", timeout_s=5.0, family=document.group), problem.task_id


def test_code_without_docstrings_in_the_real_rows(real_data: Path) -> None:
    """Two of the 100 functions are Python 2, which nothing takes a docstring out of: a filter of what does not parse finds them."""
    found = list(documents(SourceConfig(source="codesearchnet")))
    kept = [each.id for each in found if '"""' in each.text.partition("\n")[2].lstrip()[:4]]
    assert len(kept) <= 2
    assert all(each.group.count("/") == 1 and each.origin.startswith("https://github.com/") for each in found)


@pytest.mark.parametrize("name", ["conala", "leetcode", "mbpp", "codealpaca", "codesearchnet"])
def test_chunks_of_any_size_give_the_same(real_data: Path, name: str) -> None:
    opened = open_source(SourceConfig(source=name))
    found = []
    for rows_per_chunk in (100, 333):
        chunks = [pickle.loads(pickle.dumps(chunk)) for chunk in opened.chunks(rows_per_chunk)]
        assert len({chunk.name for chunk in chunks}) == len(chunks)
        found.append([each for chunk in chunks for each in read_chunk(chunk)])
    assert found[0] == found[1]


def test_the_recipes_path_the_data_folder_and_the_sources_own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    row = {"intent": "sort", "snippet": "x.sort()", "question_id": 1}
    for place in ("env", "root"):
        write(tmp_path / place / "conala" / "conala-train.json", [row | {"intent": place}])
        write(tmp_path / place / "conala" / "conala-test.json", [row | {"intent": "test"}])
    own = write(tmp_path / "own.jsonl", [row | {"intent": "own"}])
    monkeypatch.setenv("CODETUNE_DATA", str(tmp_path / "env"))

    def wish(root: Path | None = None, **settings: Any) -> str:
        return next(documents(SourceConfig(source="conala", **settings), root)).instruction

    assert wish() == "env"
    assert wish(tmp_path / "root") == "root"
    assert wish(tmp_path / "root" / "conala") == "root"
    assert wish(tmp_path / "root", path=own) == "own"
    assert wish(path=tmp_path / "root" / "conala") == "root"
    assert wish(own) == "env"  # a root that has none of the source's files is for other sources
    monkeypatch.delenv("CODETUNE_DATA")
    assert wish(own) == "own"


def test_splits_by_file_name(tmp_path: Path) -> None:
    for name in ("train-00000-of-00002", "train-00001-of-00002", "validation", "test_sample", "latest"):
        write(tmp_path / "d" / f"{name}.jsonl", [{"instruction": name, "output": "x"}])
    source = str(tmp_path / "d")
    found = list(documents(SourceConfig(source=source)))
    assert [each.instruction for each in found] == ["latest", "train-00000-of-00002", "train-00001-of-00002", "validation"]
    assert ids(found) == ["latest/0", "train-00000-of-00002/0", "train-00001-of-00002/0", "validation/0"]
    assert [each.split for each in found] == ["", "", "", "validation"]
    (only,) = documents(SourceConfig(source=source, split="test"))
    assert (only.instruction, only.split) == ("test_sample", "test")
    with pytest.raises(UserError, match=r"has no split 'dev'; valid: test, train, validation"):
        open_source(SourceConfig(source=source, split="dev"))


def test_codesearchnet_in_codexglues_folder(tmp_path: Path) -> None:
    row = {"code": 'def f():\n    "Say."\n    return 1\n', "docstring": "Say."}
    for name in ("train", "valid", "test"):
        write(tmp_path / f"{name}.jsonl", [row, row])
    config = SourceConfig(source="codesearchnet", path=tmp_path)
    assert ids(documents(config)) == ["train/0", "train/1", "valid/0", "valid/1"]  # of several files, each its own
    assert [each.split for each in documents(config)] == ["train", "train", "validation", "validation"]
    test = documents(config.model_copy(update={"split": "test"}))
    assert ids(test) == ["test/0", "test/1"]


def test_a_folder_for_each_language(tmp_path: Path) -> None:
    for language in ("python", "c-sharp", "java"):
        write(tmp_path / "starcoderdata" / language / "train.jsonl", [{"content": language, "max_stars_repo_name": "a/b"}])
    config = SourceConfig(source="starcoderdata", path=tmp_path, languages=("csharp", "python"))
    assert [(each.text, each.language) for each in documents(config)] == [("c-sharp", "csharp"), ("python", "python")]


def test_csv_and_parquet_of_ones_own(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("prompt,completion\n" + '"def f():\n",    return 1\n')
    (pair,) = documents(SourceConfig(source=str(tmp_path / "a.csv")))
    assert (pair.id, pair.prompt, pair.text, pair.origin) == ("a/0", "def f():\n", "    return 1", "a.csv, line 2")
    pq.write_table(pa.Table.from_pylist(ALPACA), tmp_path / "b.parquet")
    found = list(documents(SourceConfig(source=str(tmp_path / "b.parquet"))))
    assert [each.text for each in found] == [row["output"] for row in ALPACA]
    assert found[1].origin == "b.parquet, row 2"
    both = documents(SourceConfig(source="alpaca", path=tmp_path / "*.parquet", max_documents=2))
    assert ids(both) == ["b/0", "b/1"]


def test_bad_rows_are_told_and_strict_stops(tmp_path: Path) -> None:
    path = write(tmp_path / "mine.jsonl", ALPACA[:2])
    path.write_text(path.read_text() + "oops\n" + json.dumps({"instruction": 3, "output": "x"}) + "\n" + json.dumps(ALPACA[2]) + "\n")
    told: list[tuple[str, str]] = []
    found = list(documents(SourceConfig(source=str(path)), notice=lambda where, reason: told.append((where, reason))))
    assert ids(found) == ["mine/0", "mine/1", "mine/4"]
    assert [where for where, _ in told] == [f"{path}, line 3", f"{path}, line 4"]
    assert told[1][1] == "'instruction' must be a string, got 3"
    with pytest.raises(UserError, match=r"mine\.jsonl, line 3: not JSON") as caught:
        list(documents(SourceConfig(source=str(path)), strict=True))
    assert "\n" not in str(caught.value)


def test_a_repeated_id_is_a_bad_row(tmp_path: Path) -> None:
    row = {"task_id": "a", "instruction": "Add.", "reference": "x"}
    path = write(tmp_path / "mine.jsonl", [row, row | {"task_id": "b"}, row])
    told: list[str] = []
    assert ids(documents(SourceConfig(source=str(path)), notice=lambda where, reason: told.append(reason))) == ["a", "b"]
    assert told == ["the id 'a' was there before; every document needs its own"]
    with pytest.raises(UserError, match=r"mine\.jsonl, line 3: the id 'a' was there before"):
        list(documents(SourceConfig(source=str(path)), strict=True))


def test_the_first_good_row_says_what_a_file_is(tmp_path: Path) -> None:
    path = write(tmp_path / "mine.jsonl", [{"note": 1}, *ALPACA])
    path.write_text("oops\n" + path.read_text())
    assert open_source(SourceConfig(source=str(path))).source.name == "alpaca"
    path = write(tmp_path / "mine.jsonl", [{"question": "x", "answer": "y"}])
    says = r"line 1: no known form of rows, it has the keys \['answer', 'question'\]; wanted are instruction and output \(alpaca\)"
    with pytest.raises(UserError, match=says):
        open_source(SourceConfig(source=str(path)))
    for text, says in (("oops\n", "line 1: not JSON .*; no good row is there"), ("", r"mine\.jsonl: no rows")):
        path.write_text(text)
        with pytest.raises(UserError, match=says):
            open_source(SourceConfig(source=str(path)))


@pytest.mark.usefixtures("no_data")
@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"source": "conlaa"}, "unknown data source 'conlaa'; did you mean 'conala'?"),
        ({"source": "nowhere.jsonl"}, "nowhere.jsonl not found"),
        ({"source": "a/*.jsonl"}, "no file matches"),
        ({"source": "conala", "split": "test"}, "'conala' has no split 'test'; valid: train"),
        ({"source": "conala", "min_score": 0.1}, "source 'conala' has no use for 'min_score' (which is for conala-mined); leave it out"),
        ({"source": "conala", "make": "pairs"}, "has no use for 'make' (which is for code)"),
        ({"source": "basics", "path": Path("x")}, "'basics' ships with codetune and takes no file"),
        ({"source": "basics", "split": "known"}, "'basics' has no split 'known'; valid: train, validation"),
        ({"source": "alpaca"}, "'alpaca' is a form of files: give the file as path"),
        ({"source": "the-stack-v2"}, "The Stack v2 has no contents"),
        ({"source": "conala", "path": Path("nowhere.json")}, "nowhere.json not found"),
    ],
)
def test_mistakes_are_one_line(settings: dict[str, Any], says: str) -> None:
    with pytest.raises(UserError) as caught:
        open_source(SourceConfig(**settings))
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_forms_that_the_source_forces(tmp_path: Path) -> None:
    path = write(tmp_path / "mine.jsonl", [{"intent": "x", "snippet": "y", "question_id": 1}])
    (broken,) = [each for chunk in open_source(SourceConfig(source="alpaca", path=path)).chunks(9) for each in read_chunk(chunk)]
    assert broken == BadRow(f"{path}, line 1", "'instruction' is missing")


def test_a_folder_with_a_manifest_is_a_prepared_one(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text('{"format": "codetune-data"}')
    pq.write_table(pa.table({"id": ["a"]}), tmp_path / "train-00000.parquet")
    pq.write_table(pa.table({"id": ["b"]}), tmp_path / "test-00000.parquet")
    opened = open_source(SourceConfig(source=str(tmp_path)))
    assert (opened.source.name, [file.path.name for file in opened.files]) == ("prepared", ["train-00000.parquet"])


def test_a_folder_of_code_is_no_folder_of_data(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("x = 1\n")
    (tmp_path / "b.py").write_text("x = 1\n")
    write(tmp_path / "tests" / "data.jsonl", ALPACA)
    opened = open_source(SourceConfig(source=str(tmp_path)))
    assert (type(opened), opened.name) == (OpenedCode, tmp_path.name)
    found = [each for chunk in opened.chunks(100) for each in read_chunk(chunk)]
    assert [each.id for each in found if isinstance(each, Document)] == ["a.py", "b.py"]
    assert documents(SourceConfig(source="code", path=tmp_path)) is not None


def hub_folder(folder: Path) -> Path:
    """A data set as it lies on the hub, which `datasets` reads from a local folder in the same way."""
    write(folder / "data" / "train-00000-of-00001.jsonl", ALPACA)
    write(folder / "data" / "valid-00000-of-00001.jsonl", ALPACA[:1])
    return folder


def test_rows_of_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("datasets")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    place = Hub(str(hub_folder(tmp_path / "hub")), splits={"validation": "valid"})
    chunks = [pickle.loads(pickle.dumps(chunk)) for chunk in hub_chunks(place, "train", "", 3)]
    assert [chunk.name for chunk in chunks] == ["train@0", "train@3", "train@6"]
    found = [row for chunk in chunks for row in rows(chunk)]
    assert [row.values for row in found if not isinstance(row, BadRow)] == ALPACA
    assert found[4].where == f"{place.repository}, train, row 5"
    one = [row for chunk in hub_chunks(place, "train", "", 100, ("output",)) for row in rows(chunk)]
    assert [list(row.values) for row in one if not isinstance(row, BadRow)] == [["output"]] * 7

    source = replace(SOURCES["codealpaca"], hub=place, files={"train": ("codealpaca/*",), "validation": ("codealpaca/*",)})
    opened = Opened("codealpaca", source, SourceConfig(source="codealpaca"))
    made = [each for chunk in opened.chunks(3) for each in read_chunk(chunk)]
    assert [each.split for each in made if isinstance(each, Document)] == ["train"] * 7 + ["validation"]
    assert ids(made)[:2] == ["train/0", "train/1"]


@pytest.mark.usefixtures("no_data")
def test_a_hub_that_cannot_be_reached_is_one_line(tmp_path: Path) -> None:
    pytest.importorskip("datasets")
    script = (
        "from codetune.data.sources import documents\n"
        "from codetune.data_recipe import SourceConfig\n"
        "from codetune.errors import UserError\n"
        "for name in ('apps', 'the-stack', 'codecontests'):\n"
        "    try:\n"
        "        next(documents(SourceConfig(source=name)))\n"
        "    except UserError as error:\n"
        "        print(error)\n"
    )
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120, env=environment)
    lines = done.stdout.splitlines()
    assert len(lines) == 3, done.stderr
    assert all("on the hub cannot be read" in line for line in lines)
    assert "or put apps/train* into the folder that CODETUNE_DATA names, or give its path" in lines[0]


def test_training_problems_of_a_new_source_and_of_conversations(real_data: Path, tmp_path: Path) -> None:
    problems = load_source("codesearchnet")
    assert (len(problems), problems[0].source) == (100, "codesearchnet")
    turns = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Ho"}]
    with pytest.raises(UserError, match="rows of conversations"):
        load_source(str(write(tmp_path / "chat.jsonl", [{"messages": turns}])))
    with pytest.raises(UserError, match="'codesearchnet' has no split 'examples'"):
        load_source("codesearchnet", "examples")


def test_own_problems_keep_their_setup_and_time(tmp_path: Path) -> None:
    row = {"task_id": "a", "instruction": "Add.", "reference": "x", "setup": "import re", "timeout_s": 2, "tests": ["assert x"]}
    (problem,) = load_source(str(write(tmp_path / "mine.jsonl", [row])))
    assert (problem.setup, problem.timeout_s, problem.source) == ("import re", 2.0, "mine")
