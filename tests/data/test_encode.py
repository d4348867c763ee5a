"""Rendered text to ids: what counts for the loss, where EOS stands, prompts that are the same at inference, many texts at once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tokenizers
import transformers
from tokenizers import models, pre_tokenizers

from codetune.config import InfillingConfig
from codetune.data import conala, humaneval
from codetune.data.encode import Encoded, encode, encode_all, encode_documents, encode_prompt, endings, endings_of
from codetune.models.load import TextTokenizer, load_tokenizer
from codetune.models.names import SHIPPED
from codetune.prompts.infill import Infilling, marks_from, marks_of
from codetune.prompts.rendered import Rendered, Segment
from codetune.prompts.template import Template, make_template
from codetune.records import Document, Message, Problem
from tests.data.test_tokenise import Letters
from tests.prompts.test_template import CHATS, chat
from tests.real_tokenizers import code_llama, deepseek_coder, falcon, gpt2, llama2, starcoder

BOS, EOS = 1, 0  # of Letters, which makes one token of each character
REAL = [gpt2, llama2, code_llama, starcoder, deepseek_coder, falcon]
TALK = Document(
    "talk/0",
    messages=(
        Message("user", "a"), Message("assistant", "    bb"), Message("user", "c"), Message("assistant", "\nddé🙂"),
        Message("user", "Why?"), Message("assistant", ""), Message("user", "f"), Message("assistant", "def g():\n\treturn 1\n"),
    ),
)  # fmt: skip
TWO_TURNS = Document("talk/1", messages=TALK.messages[:4])
TEMPLATE = make_template("docstring")


def learned(encoded: Encoded) -> str:
    """The letters that count for the loss, EOS as #."""
    return "".join("#" if token == EOS else chr(token - 2) for token, counts in zip(*encoded, strict=True) if counts)


def test_a_pair_is_bos_prompt_completion_eos() -> None:
    ids, counted = encode(Rendered.pair("ab", "c"), Letters(bos_id=BOS))
    assert ids == [BOS, 2 + ord("a"), 2 + ord("b"), 2 + ord("c"), EOS]
    assert counted == [False, False, False, True, True]


def test_what_counts_in_a_conversation() -> None:
    """EOS after every answer is learned with it."""
    rendered = TEMPLATE.render_document(TWO_TURNS)
    whole = "Prompt: a\nCode:\n    bb#\n\nPrompt: c\nCode:\n\nddé🙂#"
    assert learned(encode(rendered, Letters(), "completion")) == "\nddé🙂#"
    assert learned(encode(rendered, Letters(), "assistant")) == "    bb#\nddé🙂#"
    assert learned(encode(rendered, Letters(), "all")) == whole


def test_turn_marks_of_a_chat_template_are_learned_and_eos_comes_once() -> None:
    source = "^{% for m in messages %}{{ m.role[0] }}:{{ m.content }}|{% endfor %}{% if add_generation_prompt %}a:{% endif %}"
    rendered = make_template("chat", source).render_document(TWO_TURNS)
    ids, counted = encode(rendered, Letters(bos_id=BOS), "assistant")
    assert (ids.count(EOS), ids.count(BOS)) == (1, 0)  # the text brings its own marks
    assert learned((ids, counted)) == "    bb|\nddé🙂|#"
    assert learned(encode(rendered, Letters(), "completion")) == "\nddé🙂|#"


def test_plain_code_counts_as_a_whole() -> None:
    rendered = TEMPLATE.render_document(Document("file", text="x = 1"))
    for loss_on in ("completion", "assistant", "all"):
        ids, counted = encode(rendered, Letters(bos_id=BOS), loss_on)
        assert (ids[0], learned((ids[1:], counted[1:]))) == (BOS, "x = 1#")


def conversation_templates(data: Path) -> list[Template]:
    return [*map(make_template, ("instruction", "alpaca", "docstring", "completion")), *(chat(data, name) for name in CHATS)]


@pytest.mark.parametrize("load", REAL)
def test_ids_before_every_answer_are_those_at_inference(load: Callable[[Path], TextTokenizer], data_folder: Path) -> None:
    tokenizer = load(data_folder)
    for template in conversation_templates(data_folder):
        whole, _ = encode(template.render_document(TALK), tokenizer)
        for stop in (2, 4, 6, 8):
            part = template.render_document(Document("talk/0", messages=TALK.messages[:stop]))
            asked = encode(Rendered(part.segments[:-1], part.has_special), tokenizer)[0]
            assert whole[: len(asked)] == asked
            if stop == 2:  # one text, as an engine is given it
                assert asked == encode_prompt(part.prompt, tokenizer, part.has_special)


@pytest.mark.parametrize("load", REAL)
def test_answers_come_back_from_their_ids(load: Callable[[Path], TextTokenizer], data_folder: Path) -> None:
    tokenizer = load(data_folder)
    rendered = TEMPLATE.render_document(TALK)
    ids, counted = encode(rendered, tokenizer, "assistant")
    edges = [0, *(at for at in range(1, len(ids)) if counted[at] != counted[at - 1]), len(ids)]
    for answer, number in enumerate(range(1, len(edges) - 1, 2)):
        before, said = ids[: edges[number]], ids[edges[number] : edges[number + 1]]
        assert said[-1] == tokenizer.eos_id
        assert tokenizer.decode_after(before, said[:-1]) == rendered.segments[2 * answer + 1].text
    assert ids.count(tokenizer.eos_id) == 4


@pytest.mark.parametrize("load", REAL)
def test_many_at_once_have_the_ids_of_each_alone(load: Callable[[Path], TextTokenizer], data_folder: Path) -> None:
    tokenizer = load(data_folder)
    problems = (*conala.load_train(data_folder / conala.TRAIN_FILE)[:60], *humaneval.load(data_folder / humaneval.FILE)[:20])
    documents = [*map(Document.of, problems), TALK, TWO_TURNS, *(Document(f"file/{p.task_id}", text=p.reference) for p in problems)]
    infilling = Infilling(InfillingConfig(rate=0.7), marks_of(tokenizer.vocabulary) or marks_from("<P>", "<S>", "<M>"))
    for template in (make_template("alpaca"), make_template("completion"), chat(data_folder, "microsoft-Phi-3.5-mini-instruct")):
        rendereds = [infilling.render(document, template) for document in documents]
        for loss_on in ("completion", "assistant", "all"):
            assert encode_all(rendereds, tokenizer, loss_on) == [encode(rendered, tokenizer, loss_on) for rendered in rendereds]
    assert encode_all([], tokenizer) == []


def test_a_tokenizer_that_takes_one_text_only_does() -> None:
    rendereds = [TEMPLATE.render_document(TALK), Rendered.pair("a", "b")]
    assert encode_all(rendereds, Letters(BOS)) == [encode(rendered, Letters(BOS)) for rendered in rendereds]


def test_a_tokenizer_file_that_says_to_cut_or_pad_does_neither(tmp_path: Path) -> None:
    inner = tokenizers.Tokenizer(models.BPE({"a": 0, "b": 1, "<eos>": 2, "x": 3}, []))
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    inner.enable_truncation(3)
    inner.enable_padding(length=5)
    inner.save(str(tmp_path / "tokenizer.json"))
    tokenizer = TextTokenizer(transformers.PreTrainedTokenizerFast(tokenizer_file=str(tmp_path / "tokenizer.json"), eos_token="<eos>"))
    rendereds = [Rendered.plain("abababab"), Rendered.plain("a")]
    assert [ids for ids, _ in encode_all(rendereds, tokenizer)] == [[0, 1, 0, 1, 0, 1, 0, 1, 2], [0, 2]]
    assert [encode(rendered, tokenizer)[0] for rendered in rendereds] == [[0, 1, 0, 1, 0, 1, 0, 1, 2], [0, 2]]


def test_documents_that_cannot_be_written_say_why_and_the_others_go_on() -> None:
    documents = [Document("bad", messages=(Message("user", "?"),)), Document.of(Problem("p", instruction="a", reference="b")), TWO_TURNS]
    made = encode_documents(documents, TEMPLATE, Letters())
    assert made[0] == "bad: the conversation has no answer by the assistant to learn from; leave it out of the data"
    assert made[1:] == [encode(TEMPLATE.render_document(document), Letters()) for document in documents[1:]]


def test_code_too_long_with_a_hole_stays_whole() -> None:
    """Five letters and EOS; with three marks of one letter each they are nine."""
    infilling = Infilling(InfillingConfig(rate=1), marks_from("1", "2", "3"))
    document = Document("file", text="abcde")
    fits, torn = (encode_documents([document], TEMPLATE, Letters(), infilling=infilling, max_length=length)[0] for length in (9, 8))
    assert isinstance(fits, tuple)
    assert len(fits[0]) == 9
    assert torn == encode(TEMPLATE.render_document(document), Letters())


@pytest.mark.parametrize("load", [gpt2, llama2, starcoder, deepseek_coder], ids=lambda load: load.__name__)
def test_a_text_that_spells_a_special_token_is_a_text(load: Callable[[Path], TextTokenizer], data_folder: Path) -> None:
    """In code, prompts and answers, one at a time or many; a chat template's and infilling's own marks are the tokens."""
    tokenizer = load(data_folder)
    text = f"x = '{tokenizer.eos_token}'  # {tokenizer.bos_token or tokenizer.eos_token}"
    ids = encode(Rendered.pair(text, text), tokenizer)[0]
    own = ids[0 if tokenizer.bos_id is None else 1 : -1]  # the BOS and EOS that are ours to put there
    assert not {*own} & {*tokenizer.inner.all_special_ids}
    assert tokenizer.decode_after([], own).strip() == text + text
    marked = Rendered((Segment("a", False), Segment(tokenizer.eos_token, False, is_mark=True), Segment("b", True)))
    assert tokenizer.eos_id in encode(marked, tokenizer)[0]
    assert tokenizer.eos_id in encode(Rendered.pair(text, text, has_special=True), tokenizer)[0][:-1]
    assert [one for one, _ in encode_all([Rendered.pair(text, text), marked], tokenizer)] == [ids, encode(marked, tokenizer)[0]]


def test_endings_by_hand() -> None:
    """Ends, cut, not learned, twice, alone, with a mark of a turn's end, and with both."""
    examples = [
        ([5, 6, 0], [False, True, True]), ([5, 6], [True, True]), ([5, 0], [True, False]), ([5, 0, 0], [True, True, True]), ([0], [True]),
        ([5, 9], [True, True]), ([5, 9, 0], [True, True, True]),
    ]  # fmt: skip
    found = endings_of(examples, (0, 9))
    causes = {"cut before their end": 1, "with an end that does not count for the loss": 1, "with nothing but an end": 1}
    assert (found.examples, found.causes, found.doubled, found.share) == (7, causes, 1, pytest.approx(4 / 7))
    assert endings_of(examples, (0,)).causes["cut before their end"] == 2
    assert found.line == (
        "57.1% of 7 examples end with a supervised EOS (1 cut before their end, 1 with an end that does not count for the loss, "
        "1 with nothing but an end); 1 have EOS twice, as the text brings its own"
    )
    assert endings_of(examples[:1], (0,)).line == "100.0% of 1 examples end with a supervised EOS"
    assert endings(np.zeros(0, np.int32), np.zeros(0, np.bool_), np.zeros(1, np.int64), (0,)).share == 0


def test_every_row_of_real_data_ends_with_a_supervised_eos(data_folder: Path) -> None:
    """In every chat template and style, EOS once; in those whose turns end otherwise (Qwen's <|im_end|> before EOS) it comes after."""
    tokenizer = gpt2(data_folder)
    documents = [*map(Document.of, conala.load_train(data_folder / conala.TRAIN_FILE)[:100]), TALK]
    for template in conversation_templates(data_folder):
        made = [one for one in encode_documents(documents, template, tokenizer) if not isinstance(one, str)]
        found = endings_of(made, (tokenizer.eos_id,))
        assert (len(made), found.share, found.doubled) == (101, 1.0, 0)


def test_a_tokenizer_is_loaded_without_its_model() -> None:
    tokenizer = load_tokenizer("codetune-base")
    assert tokenizer.name_hash == TextTokenizer(transformers.AutoTokenizer.from_pretrained(str(SHIPPED["codetune-base"]))).name_hash
