"""Text to token ids: prompts are prefixes, EOS ends every example, real vocabularies round-trip; the cache changes nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codetune.batches import collate, make_rows
from codetune.config import LossOn
from codetune.data import conala, humaneval, mbpp
from codetune.data.encode import encode_pair, encode_prompt
from codetune.data.sources import austin_examples
from codetune.data.tokenise import TokenisedExamples, collect, cut, join, load_examples, save_examples
from codetune.data.training import Maker, tokenise_documents
from codetune.errors import UserError
from codetune.models.load import TextTokenizer
from codetune.prompts.template import AUSTIN_3SHOT, STYLES, Template, make_template
from codetune.records import Document, Problem
from tests.data.token_shards import assert_same
from tests.real_tokenizers import gpt2, llama2

PROBLEMS = [Problem("a", instruction="Add.", reference="a + b"), Problem("b", instruction="Long wish " * 9, reference="ok")]
TEMPLATE = make_template("docstring")
TOKENIZERS = [gpt2, llama2]


class Letters:
    """One token per character; 1 is BOS and 0 EOS."""

    name_hash, eos_id = "letters", 0

    def __init__(self, bos_id: int | None = None) -> None:
        self.bos_id = bos_id

    def encode(self, text: str, with_bos: bool, marks: bool = False) -> list[int]:
        start = [self.bos_id] if with_bos and self.bos_id is not None else []
        return start + self.encode_continuation(text)

    def encode_continuation(self, text: str, marks: bool = False) -> list[int]:
        return [2 + ord(letter) for letter in text]


class Refusing(Letters):
    """Looks like `Letters` and cannot encode: what it yields came from the cache."""

    def encode_continuation(self, text: str, marks: bool = False) -> list[int]:
        raise AssertionError("not cached")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CODETUNE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def tokenised(tokenizer: Letters, max_length: int = 1000) -> TokenisedExamples:
    return tokenise_problems(PROBLEMS, TEMPLATE, tokenizer, max_length, "completion")


def tokenise_problems(
    problems: Sequence[Problem], template: Template, tokenizer: Letters, max_length: int, loss_on: LossOn
) -> TokenisedExamples:
    return tokenise_documents((tuple(map(Document.of, problems)),), Maker(template, tokenizer, max_length, loss_on))


def in_memory(made: TokenisedExamples) -> TokenisedExamples:
    return TokenisedExamples(made.ids.copy(), made.supervised.copy(), made.offsets.copy(), made.dropped_long)


def test_every_example_is_prompt_completion_eos() -> None:
    made = tokenised(Letters(bos_id=1))
    for index, problem in enumerate(PROBLEMS):
        text = "".join(chr(token - 2) for token in made.example(index)[1:-1])
        assert text == TEMPLATE.render(problem).text
        assert (made.example(index)[0], made.example(index)[-1]) == (1, 0)


def test_loss_on_completion_counts_the_completion_and_eos() -> None:
    made = tokenised(Letters())
    assert made.targets(0).sum() == len("a + b") + 1
    assert made.targets(0)[-6:].all()
    assert made.supervised_tokens == len("a + b") + 1 + len("ok") + 1


def test_loss_on_all_spares_only_the_first_token() -> None:
    """Nothing comes before it, so nothing can predict it."""
    made = tokenise_problems(PROBLEMS, TEMPLATE, Letters(), 1000, "all")
    for index in range(2):
        assert made.targets(index).tolist() == [False] + [True] * (len(made.example(index)) - 1)
    assert made.supervised_tokens == len(made.ids) - 2


def test_an_empty_prompt_spares_the_first_token_too() -> None:
    made = join([[5, 6, 7]], [0])
    assert made.targets(0).tolist() == [False, True, True]
    assert made.supervised_tokens == 2


def test_too_long_is_counted_and_never_cut() -> None:
    short = len(TEMPLATE.render(PROBLEMS[0]).text) + 1
    made = tokenised(Letters(), max_length=short)
    assert (len(made), made.dropped_long, len(made.ids)) == (1, 1, short)
    with pytest.raises(UserError, match=f"none of 2 examples fits max_seq_len={short - 1} tokens"):
        tokenised(Letters(), max_length=short - 1)


def test_a_cache_hit_equals_a_miss() -> None:
    made = tokenised(Letters())
    assert_same(tokenised(Refusing()), made)


@pytest.mark.parametrize(
    "other",
    [
        lambda: tokenised(Refusing(bos_id=1)),
        lambda: tokenised(Refusing(), max_length=999),
        lambda: tokenise_problems(PROBLEMS[:1], TEMPLATE, Refusing(), 1000, "completion"),
        lambda: tokenise_problems(PROBLEMS, make_template("alpaca"), Refusing(), 1000, "completion"),
        lambda: tokenise_problems(PROBLEMS, TEMPLATE, Refusing(), 1000, "all"),
    ],
    ids=["bos", "length", "problems", "style", "loss"],
)
def test_whatever_changes_the_tokens_misses_the_cache(other: Callable[[], TokenisedExamples]) -> None:
    tokenised(Letters())
    with pytest.raises(AssertionError, match="not cached"):
        other()


def test_a_damaged_cache_is_ignored(cache: Path) -> None:
    """Bytes of every file flipped, files cut short or gone: tokens are made anew or were not touched."""
    made = in_memory(tokenised(Letters()))  # or the damage would be in what it is compared with
    (folder,) = cache.iterdir()
    whole = {path: path.read_bytes() for path in folder.iterdir()}
    for path, content in whole.items():
        damaged = [content[:length] for length in range(0, len(content), 97)]
        damaged += [content[:at] + bytes([content[at] ^ 0xFF]) + content[at + 1 :] for at in range(0, len(content), 41)]
        for one in damaged:
            path.write_bytes(one)
            assert_same(tokenised(Letters()), made)
            assert path.read_bytes() == content
        path.unlink()
        assert_same(tokenised(Letters()), made)
    assert {path: path.read_bytes() for path in folder.iterdir()} == whole
    assert list(cache.iterdir()) == [folder]


def test_a_cache_whose_numbers_were_edited_is_ignored(cache: Path) -> None:
    made = tokenised(Letters())
    (about,) = cache.glob("*/about.json")
    about.write_text(about.read_text().replace('"dropped_long": 0', '"dropped_long": 5'))
    assert_same(tokenised(Letters()), made)


def test_a_cache_that_cannot_be_written_is_done_without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("CODETUNE_CACHE", str(tmp_path / "file"))
    assert len(tokenised(Letters())) == 2


def test_saved_examples_come_back(tmp_path: Path) -> None:
    made = replace(join([[3, 4], [5]], [1, 0]), dropped_long=7, continued=1)
    for _ in range(2):  # the second time in place of the first
        save_examples(tmp_path / "new" / "train", made)
        assert_same(load_examples(tmp_path / "new" / "train"), made)
        assert [path.name for path in (tmp_path / "new").iterdir()] == ["train"]
    files = sorted(path.name for path in (tmp_path / "new" / "train").iterdir())
    assert files == ["about.json", "ids.npy", "offsets.npy", "supervised.npy"]


def test_no_examples_at_all_come_back(tmp_path: Path) -> None:
    save_examples(tmp_path / "none", join([], []))
    assert_same(load_examples(tmp_path / "none"), join([], []))


def test_tokens_of_another_key_are_not_taken(tmp_path: Path) -> None:
    save_examples(tmp_path / "train", join([[3]], [0]), key="one")
    assert len(load_examples(tmp_path / "train", "one")) == len(load_examples(tmp_path / "train")) == 1
    with pytest.raises(UserError, match="train holds other tokens: remove it, or choose another folder"):
        load_examples(tmp_path / "train", "two")


@given(st.integers(1, 60), st.integers(1, 12))
def test_a_cut_document_loses_nothing(length: int, max_length: int) -> None:
    """And but for the document's first token, only the first of each further piece has no label; EOS keeps its own."""
    ids = list(range(length))
    made = collect(cut(ids, max_length), max_length)
    assert made.ids.tolist() == ids
    assert made.dropped_long == 0
    assert max(made.lengths) <= max_length
    assert made.supervised_tokens == length - len(made) == sum(int(made.targets(index).sum()) for index in range(len(made)))
    if length > 1 and max_length > 2:
        assert made.targets(len(made) - 1)[-1]


def test_a_cut_by_hand() -> None:
    assert [list(piece.ids) for piece in cut(list("abcdefgh"), 3)] == [["a", "b", "c"], ["d", "e", "f"], ["g", "h"]]
    assert [list(piece.ids) for piece in cut(list("abcdefg"), 3)] == [["a", "b", "c"], ["d", "e"], ["f", "g"]]
    assert [list(piece.ids) for piece in cut(list("abc"), 3)] == [["a", "b", "c"]]


def test_several_spans_reach_the_batch() -> None:
    """A conversation's two answers, in a packed row after a pair: neither first tokens nor questions count."""
    made = collect([([5, 6, 7], [True, True, True]), ([8, 9, 10, 11, 12, 13], [False, True, True, False, False, True])])
    assert made.supervised_tokens == 5
    batch = collate(made, make_rows(made, "exact", 10, range(2)), "exact")
    assert batch.input_ids[0, :9].tolist() == [8, 9, 10, 11, 12, 13, 5, 6, 7]
    assert batch.targets[0, :9].tolist() == [False, True, True, False, False, True, False, True, True]
    cut_row = collate(made, [[(1, 1, 6)]], "concatenated")
    assert cut_row.targets[0, :5].tolist() == [False, True, False, False, True]


@pytest.mark.parametrize("load", TOKENIZERS)
def test_published_ids(load: Callable[[Path], TextTokenizer], data_folder: Path) -> None:
    wanted = {gpt2: [15496, 995], llama2: [1, 15043, 3186]}[load]
    assert load(data_folder).encode("Hello world", with_bos=True) == wanted


@pytest.mark.parametrize("style", [style for style in STYLES if style != "chat"])
@pytest.mark.parametrize("load", TOKENIZERS)
def test_prompt_ids_are_a_prefix_of_the_training_ids(load: Callable[[Path], TextTokenizer], style: str, data_folder: Path) -> None:
    """And the completion's ids, decoded after the prompt's, are the completion to the letter."""
    examples = austin_examples(data_folder / mbpp.FILE) if style == AUSTIN_3SHOT else ()
    tokenizer, template = load(data_folder), make_template(style, examples=examples)
    problems = (*conala.load_train(data_folder / conala.TRAIN_FILE)[:200], *humaneval.load(data_folder / humaneval.FILE))
    for problem in problems:
        rendered = template.render(problem)
        prompt, completion = encode_pair(rendered, tokenizer)
        assert prompt == encode_prompt(template.prompt(problem), tokenizer)
        assert completion[-1] == tokenizer.eos_id
        assert tokenizer.decode_after(prompt, completion[:-1]) == rendered.completion


@pytest.mark.parametrize("load", TOKENIZERS)
def test_humaneval_round_trips(load: Callable[[Path], TextTokenizer], data_folder: Path) -> None:
    """All 164 programs come back from ids, as a whole and token by token as they are generated: no space is lost or invented."""
    tokenizer = load(data_folder)
    for problem in humaneval.load(data_folder / humaneval.FILE):
        prompt = tokenizer.encode(problem.prompt, with_bos=True)
        ids = tokenizer.encode_continuation(problem.reference)
        assert tokenizer.decode_after(prompt, ids) == problem.reference
        for length in (1, 2, 5):
            text = tokenizer.decode_after(prompt, ids[:length])
            assert problem.reference.startswith(text.rstrip("\ufffd"))
            assert text


@pytest.mark.parametrize("load", TOKENIZERS)
@pytest.mark.parametrize("text", [" x", "x", "    return 1", "\n\ny", "é🙂", "\t"])
def test_continuations_keep_their_first_characters(load: Callable[[Path], TextTokenizer], text: str, data_folder: Path) -> None:
    tokenizer = load(data_folder)
    for prompt in ("def f():\n", "x =", "a"):
        assert tokenizer.decode_after(tokenizer.encode(prompt, with_bos=True), tokenizer.encode_continuation(text)) == text
