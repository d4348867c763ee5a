"""What each data source makes of rows in its published form, good ones and broken ones. Where a form is published, its source says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codetune.data.read import BadRow, Skipped
from codetune.data.sources import SOURCES, documents, open_source, read_chunk
from codetune.data_recipe import SourceConfig
from codetune.errors import UserError
from codetune.records import CallTest, Document, Message, StdioTest

FUNCTION = 'def twice(n):\n    """Double a number.\n\n    >>> twice(2)\n    4\n    """\n    return 2 * n\n'
CONALA = {"intent": "sort it", "rewritten_intent": "sort list `x`", "snippet": "x.sort()", "question_id": 7}
MINED = {
    "parent_answer_post_id": 34705233, "prob": 0.8690001442846342, "snippet": "sorted(l, key=f)", "intent": "Sort a nested list",
    "id": "34705205_34705233_0", "question_id": 34705205,
}  # fmt: skip
CODESEARCHNET = {
    "id": 3, "repo": "a/b", "path": "c/d.py", "func_name": "twice", "original_string": FUNCTION, "language": "python", "code": FUNCTION,
    "code_tokens": ["def"], "docstring": "Double a number.\n\n    >>> twice(2)\n    4", "docstring_tokens": ["Double"], "sha": "e1",
    "url": "https://github.com/a/b/blob/e1/c/d.py#L1-L7",
}  # fmt: skip
CODECONTESTS = {
    "name": "1_A. Sum", "description": "Add two numbers.\n", "source": 2, "difficulty": 7,
    "cf_contest_id": 1, "cf_index": "A", "cf_rating": 800,
    "public_tests": {"input": ["1 2\n"], "output": ["3\n"]}, "private_tests": {"input": ["2 2\n"], "output": ["4\n"]},
    "generated_tests": {"input": ["9 9\n"], "output": ["18\n"]}, "input_file": "", "output_file": "",
    "solutions": {
        "language": [1, 2, 3, 3, 3, 3],
        "solution": ["print raw_input()", "int main() {}", "print(1", "print(sum(map(int, input().split())))\n",
                     "print(sum(map(int, input().split())))\n", "a, b = input().split()\nprint(int(a) + int(b))\n"],
    },
}  # fmt: skip
APPS = {
    "problem_id": 2, "question": "Add two numbers.", "solutions": json.dumps(["print raw_input()", "print(3)", "print(3)", "print(1 + 2)"]),
    "input_output": json.dumps({"inputs": ["1 2\n", ["2", "2"]], "outputs": ["3\n", "4\n"]}), "difficulty": "interview",
    "url": "https://codeforces.com/problemset/problem/1/A", "starter_code": "",
}  # fmt: skip
APPS_CALL = {
    **APPS, "starter_code": "class Solution:\n    def add(self, a, b):\n        ",
    "input_output": json.dumps({"fn_name": "add", "inputs": [[1, 2], [2, 2]], "outputs": [[3], [4]]}),
}  # fmt: skip
MBPP = {
    "task_id": 601, "text": "Add.", "code": "def add(a, b):\r\n    return a + b", "test_list": ["assert add(1, 2) == 3"],
    "test_setup_code": "", "challenge_test_list": [],
}  # fmt: skip
LEETCODE = {
    "task_id": "add", "problem_description": "Add.", "starter_code": "class Solution:\n", "prompt": "import math\n", "difficulty": "Easy",
    "completion": "class Solution:\n    def add(self): ...\n", "entry_point": "Solution().add", "test": "def check(f): ...",
}  # fmt: skip
STACK = {
    "hexsha": "ab12", "size": 6, "ext": "py", "lang": "Python", "max_stars_repo_path": "c/d.py", "max_stars_repo_name": "a/b",
    "max_stars_repo_head_hexsha": "e1", "max_stars_repo_licenses": ["MIT", "Apache-2.0"], "max_stars_count": 5.0, "content": "x = 1\n",
    "avg_line_length": 5.0, "max_line_length": 5, "alphanum_fraction": 0.3,
}  # fmt: skip
STACK_V2 = {
    "blob_id": "cd34", "path": "/c/d.py", "repo_name": "a/b", "detected_licenses": ["MIT"], "license_type": "permissive",
    "is_vendor": False, "is_generated": True, "star_events_count": 2, "src_encoding": "UTF-8", "language": "Python",
    "gha_language": "C++", "content": "x = 1\n", "length_bytes": 6,
}  # fmt: skip
STARCODER = {
    "max_stars_repo_path": "c/d.py", "max_stars_repo_name": "a/b", "max_stars_count": 5, "id": "17",
    "content": "<reponame>a/b<filename>c/d.py<gh_stars>1-10\nx = 1\n",
}  # fmt: skip
ALPACA = {"instruction": "Add.", "input": "1, 2", "output": "3"}
OSS = {
    "lang": "python", "raw_index": 1, "index": 2, "seed": "x", "openai_fingerprint": "f", "problem": "Add.",
    "solution": "```python\nx = 1\n```",
}  # fmt: skip
CHAT = {"messages": [{"role": "system", "content": "S"}, {"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Ho"}]}
SHAREGPT = {"id": "z_0", "conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Ho"}]}
PAIRS = {"prompt": "def f():\n", "completion": "    return 1\n"}
PROBLEMS = {"task_id": "own/1", "instruction": "Add.", "reference": "x = 1", "tests": ["assert x"]}
TEXT = {"text": "x = 1\n"}
EXAMPLES: dict[str, dict[str, Any]] = {
    "conala": CONALA, "conala-mined": MINED, "codesearchnet": CODESEARCHNET, "codecontests": CODECONTESTS, "apps": APPS, "mbpp": MBPP,
    "leetcode": LEETCODE, "the-stack": STACK, "the-stack-v2": STACK_V2, "starcoderdata": STARCODER, "alpaca": ALPACA, "oss-instruct": OSS,
    "chat": CHAT, "pairs": PAIRS, "problems": PROBLEMS, "text": TEXT,
}  # fmt: skip


def made(path: Path, *rows: object, **settings: Any) -> list[Document | BadRow | Skipped]:
    """What becomes of rows in a file of the user's own, or of the source that `settings` name."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    config = SourceConfig(**({"source": str(path)} | settings | ({"path": path} if "source" in settings else {})))
    return [each for chunk in open_source(config).chunks(2) for each in read_chunk(chunk)]


def one(path: Path, row: object, **settings: Any) -> Document:
    (document,) = made(path, row, **settings)
    assert isinstance(document, Document), document
    return document


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "rows.jsonl"


@pytest.mark.parametrize("name", EXAMPLES)
def test_rows_say_what_they_are(file: Path, name: str) -> None:
    file.write_text(json.dumps(EXAMPLES[name]) + "\n")
    assert open_source(SourceConfig(source=str(file))).source.name == name
    assert SOURCES[name].schema


def test_conala(file: Path) -> None:
    pair = one(file, CONALA)
    assert (pair.id, pair.instruction, pair.text, pair.group) == ("CoNaLa/train/0", "sort list `x`", "x.sort()", "7")
    assert (pair.origin, pair.licence, pair.source) == ("https://stackoverflow.com/questions/7", "CC BY-SA", "conala")


def test_mined_conala_by_probability(file: Path) -> None:
    pair, unsure, broken = made(file, MINED, MINED | {"prob": 0.4}, MINED | {"prob": "high"})
    assert isinstance(pair, Document)
    assert (pair.id, pair.rank, pair.group) == ("CoNaLa/mined/34705205_34705233_0", 0.8690001442846342, "34705205")
    assert (pair.instruction, pair.text, pair.origin) == ("Sort a nested list", "sorted(l, key=f)", "https://stackoverflow.com/a/34705233")
    assert unsure == Skipped(f"{file}, line 2", "probability below min_score")
    assert broken == BadRow(f"{file}, line 3", "'prob' must be a number, got 'high'")
    assert isinstance(made(file, MINED, source="conala-mined", min_score=0.9)[0], Skipped)


def test_codesearchnet_takes_the_docstring_out(file: Path) -> None:
    pair = one(file, CODESEARCHNET)
    assert (pair.id, pair.group, pair.origin) == ("CodeSearchNet/train/3", "a/b", CODESEARCHNET["url"])
    assert (pair.instruction, pair.input) == ("Double a number.", ">>> twice(2)\n4")
    assert (pair.text, pair.entry_point) == ("def twice(n):\n    return 2 * n\n", "twice")
    test = made(file, CODESEARCHNET | {"partition": "test"})
    assert test == [Skipped(f"{file}, line 1", "belongs to the split test")]
    asked = one(file, CODESEARCHNET | {"partition": "valid"}, source="codesearchnet", split="validation")
    assert (asked.split, asked.id) == ("validation", "CodeSearchNet/validation/3")


def test_codecontests_takes_python_3_that_parses(file: Path) -> None:
    first = one(file, CODECONTESTS)
    assert (first.id, first.group) == ("CodeContests/codeforces/1_A. Sum/0", "1_A. Sum")
    assert (first.instruction, first.text) == ("Add two numbers.", "print(sum(map(int, input().split())))\n")
    assert first.tests == (StdioTest("1 2\n", "3\n"), StdioTest("2 2\n", "4\n"))
    assert first.facts == {"site": "codeforces", "difficulty": "A", "rating": 800}
    assert first.origin == "https://codeforces.com/problemset/problem/1/A"
    both = made(file, CODECONTESTS, source="codecontests", max_solutions=5)
    assert [each.id[-2:] for each in both if isinstance(each, Document)] == ["/0", "/1"]  # one is there twice
    one_by_one = [{"language": language, "solution": text} for language, text in zip(*CODECONTESTS["solutions"].values(), strict=True)]  # type: ignore[attr-defined]
    assert one(file, CODECONTESTS | {"solutions": one_by_one}) == first
    assert one(file, CODECONTESTS | {"input_file": "in.txt"}).tests == ()
    assert made(file, CODECONTESTS | {"solutions": None}) == [Skipped(f"{file}, line 1", "no Python 3 solution that parses")]


def test_apps(file: Path) -> None:
    pair = one(file, APPS)
    assert (pair.id, pair.group, pair.instruction, pair.text) == ("APPS/train/2/0", "APPS/train/2", "Add two numbers.", "print(3)")
    assert pair.tests == (StdioTest("1 2\n", "3\n"), StdioTest("2\n2", "4\n"))
    assert (pair.facts, pair.origin) == ({"difficulty": "interview"}, APPS["url"])
    call = one(file, APPS_CALL)
    assert (call.entry_point, call.tests) == ("Solution().add", (CallTest((1, 2), 3), CallTest((2, 2), 4)))
    assert call.instruction.endswith("Start from this code:\n```python\nclass Solution:\n    def add(self, a, b):\n```")
    assert made(file, APPS | {"solutions": ""}) == [Skipped(f"{file}, line 1", "no Python 3 solution that parses")]
    both = made(file, APPS, source="apps", max_solutions=9)
    assert [each.text for each in both if isinstance(each, Document)] == ["print(3)", "print(1 + 2)"]
    (broken,) = made(file, APPS | {"solutions": "[oops"})
    assert isinstance(broken, BadRow)
    assert "'solutions': not JSON" in broken.reason


def test_mbpp_gives_its_training_and_validation_tasks(file: Path) -> None:
    rows = [MBPP | {"task_id": number} for number in (2, 11, 511, 601)]
    kept = [each for each in made(file, *rows) if isinstance(each, Document)]
    assert [(each.id, each.split) for each in kept] == [("MBPP/511", "validation"), ("MBPP/601", "train")]
    assert kept[0].text == "def add(a, b):\n    return a + b"
    assert made(file, MBPP | {"task_id": True})[0] == BadRow(f"{file}, line 1", "'task_id' must be a number, got True")
    (only,) = [each for each in made(file, *rows, source="mbpp", split="train") if isinstance(each, Document)]
    assert only.id == "MBPP/601"


def test_leetcode(file: Path) -> None:
    pair = one(file, LEETCODE)
    assert (pair.id, pair.origin, pair.facts) == ("add", "https://leetcode.com/problems/add/", {"difficulty": "Easy"})
    assert pair.prompt.startswith("import math")


def test_the_stack(file: Path) -> None:
    code = one(file, STACK)
    assert (code.id, code.text, code.kind, code.language) == ("ab12", "x = 1\n", "code", "python")
    assert (code.licence, code.group, code.rank, code.origin) == ("MIT OR Apache-2.0", "a/b", 5.0, "a/b/c/d.py")
    assert code.facts == {"stars": 5, "path": "c/d.py"}
    assert "stars" not in one(file, STACK | {"max_stars_count": None}).facts
    assert made(file, STACK | {"lang": "C++"}) == [Skipped(f"{file}, line 1", "in another language")]
    assert one(file, STACK | {"lang": "C++"}, source="the-stack", languages=["cpp"]).language == "cpp"
    assert one(file, STACK | {"opted_out": True}).facts["opted_out"] is True
    assert made(file, STACK, source="the-stack", licences=["GPL-3.0"]) == [Skipped(f"{file}, line 1", "under another licence")]
    assert one(file, STACK, source="the-stack", licences=["apache-2.0"]).id == "ab12"


def test_the_stack_v2_needs_contents(file: Path) -> None:
    code = one(file, STACK_V2)
    assert (code.id, code.group, code.rank, code.licence) == ("cd34", "a/b", 2.0, "MIT")
    assert code.facts == {"stars": 2, "path": "/c/d.py", "generated": True, "vendored": False, "main_language": "cpp"}
    (bare,) = made(file, {key: value for key, value in STACK_V2.items() if key != "content"})
    assert isinstance(bare, BadRow)
    assert "fetch them from Software Heritage" in bare.reason


def test_a_repository_of_the_stack_v2(file: Path) -> None:
    files = [{"blob_id": name, "path": f"/{name}.py", "language": "Python", "length_bytes": 6, "content": "x = 1\n"} for name in "ab"]
    row = {"repo_name": "a/b", "star_events_count": 2, "gha_language": "Python", "files": files, "num_files": 2}
    found = made(file, row)
    assert [(each.id, each.group, each.facts["repository_bytes"]) for each in found if isinstance(each, Document)] == [
        ("a", "a/b", 12), ("b", "a/b", 12),
    ]  # fmt: skip
    nameless = [{key: value for key, value in each.items() if key != "blob_id"} for each in files]
    assert [each.id for each in made(file, row | {"files": nameless}) if isinstance(each, Document)] == ["rows/0", "rows/0-1"]
    assert isinstance(made(file, row | {"files": [*files, {"path": "/c.py"}]})[0], BadRow)


def test_starcoderdata_loses_its_marks(file: Path) -> None:
    code = one(file, STARCODER)
    assert (code.id, code.text, code.language, code.facts) == ("17", "x = 1\n", "python", {"stars": 5, "path": "c/d.py"})
    assert one(file, STARCODER | {"content": "<reponame>a/b\ny <gh_stars> 2\n"}).text == "y <gh_stars> 2\n"


def test_alpaca(file: Path) -> None:
    pair, empty, broken = made(file, ALPACA, ALPACA | {"output": " "}, {"instruction": "Add."})
    assert isinstance(pair, Document)
    assert (pair.id, pair.instruction, pair.input, pair.text, pair.source) == ("rows/0", "Add.", "1, 2", "3", "rows")
    assert (pair.language, pair.origin) == ("", "rows.jsonl, line 1")
    assert empty == Skipped(f"{file}, line 2", "no answer")
    assert broken == BadRow(f"{file}, line 3", "'output' is missing")


def test_oss_instruct(file: Path) -> None:
    assert one(file, OSS).text == "x = 1\n"
    told = "First this.\n```python\nx = 1\n```\n"
    assert one(file, OSS | {"solution": told}).text == told
    assert made(file, OSS | {"lang": "rust"}) == [Skipped(f"{file}, line 1", "in another language")]


def test_conversations_stay_whole(file: Path) -> None:
    chat = one(file, CHAT)
    assert chat.messages == (Message("system", "S"), Message("user", "Hi"), Message("assistant", "Ho"))
    assert (chat.kind, chat.text, chat.id) == ("chat", "", "rows/0")
    shared = one(file, SHAREGPT)
    assert (shared.id, shared.messages) == ("z_0", (Message("user", "Hi"), Message("assistant", "Ho")))
    parts = [{"role": "user", "content": [{"type": "text", "text": "H"}, {"type": "text", "text": "i"}]}, CHAT["messages"][2]]
    assert one(file, {"messages": parts}).messages[0].content == "Hi"


@pytest.mark.parametrize(
    ("turns", "says"),
    [
        ([{"role": "user", "content": "Hi"}], "no turn of an assistant"),
        ([{"role": "user", "content": "Hi"}, {"role": "assistant", "content": " "}], "no turn of an assistant"),
        ([{"role": "assistant", "content": "Ho"}], "the assistant's turn is alone"),
        ([{"role": "asistant", "content": "Ho"}], "did you mean 'assistant'?"),
        ([{"role": "user", "content": None}], "must have 'role' and 'content'"),
        (["Hi"], "must have 'role' and 'content'"),
        ("Hi", "'messages' must be a list of turns, got 'Hi'"),
    ],
)
def test_broken_conversations(file: Path, turns: object, says: str) -> None:
    (broken,) = made(file, {"messages": turns})
    assert isinstance(broken, BadRow)
    assert says in broken.reason


def test_pairs_of_text_and_of_messages(file: Path) -> None:
    pair = one(file, PAIRS)
    assert (pair.kind, pair.prompt, pair.text, pair.instruction) == ("pair", "def f():\n", "    return 1\n", "")
    turns = {"prompt": [{"role": "user", "content": "Hi"}], "completion": [{"role": "assistant", "content": "Ho"}]}
    assert one(file, turns).messages == (Message("user", "Hi"), Message("assistant", "Ho"))
    assert isinstance(made(file, PAIRS | {"prompt": ""})[0], BadRow)


def test_own_problems_and_plain_text(file: Path) -> None:
    assert one(file, PROBLEMS).id == "own/1"
    (broken,) = made(file, {"task_id": 1, "instruction": "Add."})
    assert broken == BadRow(f"{file}, line 1", "'reference' is missing; training needs the answer")
    assert (one(file, TEXT).kind, one(file, TEXT).language) == ("code", "python")
    assert one(file, {"code": "x"}).text == one(file, {"content": "x"}).text == "x"
    assert made(file, TEXT | {"language": "Rust"}) == [Skipped(f"{file}, line 1", "in another language")]


def test_odex_is_for_testing(data_folder: Path) -> None:
    path = data_folder / "odex" / "en_test.jsonl"
    for config in (SourceConfig(source="odex"), SourceConfig(source="odex", path=path), SourceConfig(source=str(path))):
        with pytest.raises(UserError, match="odex is a test set"):
            open_source(config)
    bad: list[str] = []
    found = list(documents(SourceConfig(source="odex", path=path, split="test"), notice=lambda where, reason: bad.append(reason)))
    assert (len(found), len(bad), found[0].split) == (438, 1, "test")


@pytest.mark.parametrize("name", EXAMPLES)
def test_nul_and_halves_of_pairs_are_bad_where_text_should_be(file: Path, name: str) -> None:
    for key, value in EXAMPLES[name].items():
        if isinstance(value, str) and key not in ("partition", "lang", "language"):
            for bad in ("\0", "\ud800"):
                for each in made(file, EXAMPLES[name], EXAMPLES[name] | {key: value + bad})[1:]:
                    assert not isinstance(each, Document) or bad not in each.whole + each.id + each.group + each.origin
    texts = [each for each in made(file, TEXT, {"text": "x\0"}, {"text": "\ud800"}) if isinstance(each, BadRow)]
    assert ["NUL" in each.reason for each in texts] == [True, False]


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_missing_field_costs_its_row(file: Path, name: str) -> None:
    """Whatever is missing, the row before and the row after are read, and nothing raises."""
    for key in EXAMPLES[name]:
        found = made(file, EXAMPLES[name], {k: v for k, v in EXAMPLES[name].items() if k != key}, EXAMPLES[name])
        assert isinstance(found[0], Document)
        assert isinstance(found[-1], Document)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@pytest.mark.parametrize("name", EXAMPLES)
def test_no_value_of_any_type_raises(file: Path, name: str) -> None:
    row = EXAMPLES[name]

    @settings(max_examples=25, deadline=None)
    @given(changes=st.dictionaries(st.sampled_from(sorted(row)), JSON, min_size=1, max_size=3))
    def reads(changes: dict[str, Any]) -> None:
        found = made(file, row, {**row, **changes}, row, source=name)
        assert isinstance(found[0], Document)
        assert isinstance(found[-1], Document)
        assert all(each.id and each.source for each in found if isinstance(each, Document))
        assert all("\n" not in each.reason and len(each.reason) < 500 for each in found if isinstance(each, BadRow))

    reads()
