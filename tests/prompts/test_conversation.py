"""Conversations as training text: which words are whose, which of them are learned, and that an answer's prompt is a prefix of it all."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from codetune.data import conala, humaneval, leetcode, mbpp
from codetune.data.encode import encode, encode_context, encode_pair, encode_prompt
from codetune.errors import UserError
from codetune.prompts.rendered import Rendered, Segment
from codetune.prompts.template import STYLES, Template, make_template
from codetune.records import Document, Message, Problem
from tests.prompts.test_template import ADD, ALPACA, CHATS, CODE, HEAD, MBPP, TAIL, WISH_AND_CODE, chat, template_of
from tests.real_tokenizers import gpt2, llama2

SYSTEM, ASK, CODE_ANSWER, THANKS, BYE = "Be brief.", "Add 1 and 2.", "    print(1 + 2)\n", "And 3?", "6"


def talk(*contents: str, system: str = "") -> Document:
    """User and assistant in turn."""
    turns = [Message(("user", "assistant")[number % 2], content) for number, content in enumerate(contents)]
    return Document("talk/0", messages=(*([Message("system", system)] if system else []), *turns))


def spans(rendered: Rendered) -> list[tuple[str, bool]]:
    return [(segment.text, segment.supervised) for segment in rendered.segments]


LLAMA_HEAD = (
    "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\n"
    "Cutting Knowledge Date: December 2023\nToday Date: 26 Jul 2024\n\n"
)


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        (
            "Qwen-Qwen2.5-7B-Instruct",
            [
                (
                    "<|im_start|>system\nYou are Qwen, created by Alibaba Cloud. You are a helpful assistant.<|im_end|>\n"
                    "<|im_start|>user\nAdd 1 and 2.<|im_end|>\n<|im_start|>assistant\n", False,
                ),
                ("    print(1 + 2)\n<|im_end|>", True),
                ("\n<|im_start|>user\nAnd 3?<|im_end|>\n<|im_start|>assistant\n", False),
                ("6", True),
            ],
        ),
        (
            "microsoft-Phi-3.5-mini-instruct",
            [
                ("<|user|>\nAdd 1 and 2.<|end|>\n<|assistant|>\n", False),
                ("    print(1 + 2)\n<|end|>", True),
                ("\n<|user|>\nAnd 3?<|end|>\n<|assistant|>\n", False),
                ("6<|end|>\n", True),
            ],
        ),
        (
            "mistralai-Mistral-Nemo-Instruct-2407",
            [
                ("<s>[INST]Add 1 and 2.[/INST]", False),
                ("    print(1 + 2)\n</s>", True),
                ("[INST]And 3?[/INST]", False),
                ("6", True),
            ],
        ),
        (
            "meta-llama-Llama-3.1-8B-Instruct",
            [
                (
                    f"{LLAMA_HEAD}<|eot_id|><|start_header_id|>user<|end_header_id|>\n\nAdd 1 and 2.<|eot_id|>"
                    "<|start_header_id|>assistant<|end_header_id|>\n\n", False,
                ),
                ("print(1 + 2)<|eot_id|>", True),  # it trims what is said, code included
                ("<|start_header_id|>user<|end_header_id|>\n\nAnd 3?<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n", False),
                ("6", True),
            ],
        ),
    ],
)  # fmt: skip
def test_two_turns_in_chat_templates_to_the_letter(name: str, wanted: list[tuple[str, bool]], data_folder: Path) -> None:
    rendered = chat(data_folder, name).render_document(talk(ASK, CODE_ANSWER, THANKS, BYE))
    assert spans(rendered) == wanted
    assert rendered.has_special
    assert [rendered.eos_follows(number) for number in range(4)] == [False, False, False, True]


def test_two_turns_in_the_forms_of_pairs_to_the_letter() -> None:
    document = talk(ASK, CODE_ANSWER, THANKS, BYE)
    first, second = f"### Instruction:\n{ASK}\n\n### Response:\n", f"\n\n### Instruction:\n{THANKS}\n\n### Response:\n"
    rendered = make_template("instruction").render_document(document)
    assert spans(rendered) == [(first, False), (CODE_ANSWER, True), (second, False), (BYE, True)]
    assert [rendered.eos_follows(number) for number in range(4)] == [False, True, False, True]
    assert spans(make_template("alpaca").render_document(document))[::2] == [(f"{HEAD}. {TAIL}{first}", False), (second, False)]
    docstring = spans(make_template("docstring").render_document(document))
    assert docstring[::2] == [(f"Prompt: {ASK}\nCode:\n", False), (f"\n\nPrompt: {THANKS}\nCode:\n", False)]


@pytest.mark.parametrize("style", ["instruction", "alpaca"])
def test_a_system_message_goes_first(style: str) -> None:
    """And takes the place of Alpaca's preamble."""
    rendered = make_template(style).render_document(talk(ASK, BYE, system=SYSTEM))
    assert rendered.prompt == f"{SYSTEM}\n\n### Instruction:\n{ASK}\n\n### Response:\n"


def templates(data: Path) -> dict[str, Template]:
    plain = {style: template_of(style) for style in STYLES if style != "chat"}
    return plain | {name: chat(data, name) for name in CHATS}


def test_one_turn_is_a_pair_in_every_style(data_folder: Path) -> None:
    document = talk(ADD.instruction, ADD.reference)
    for name, template in templates(data_folder).items():
        assert template.render_document(document) == template.render(ADD), name
        assert template.render_document(Document.of(ADD)) == template.render(ADD), name


def test_every_answers_prompt_is_a_prefix_of_the_whole_in_every_style(data_folder: Path) -> None:
    contents = (ASK, CODE_ANSWER, THANKS, "\n\n6\n", "Why?", "x = '<b>'\n\n\n", "Ü?", "é🙂")
    for name, template in templates(data_folder).items():
        whole = template.render_document(talk(*contents))
        assert sum(segment.supervised for segment in whole.segments) == 4, name
        for stop in range(2, len(contents) + 1, 2):
            part = template.render_document(talk(*contents[:stop]))
            assert whole.segments[: len(part.segments) - 1] == part.segments[:-1], name
            assert whole.text.startswith(part.prompt), name
            answer = whole.segments[len(part.segments) - 1].text
            assert answer.startswith(part.completion.rstrip("\n")), name
            assert contents[stop - 1].strip() in answer, name


def test_examples_are_shown_and_not_learned(data_folder: Path) -> None:
    name = "Qwen-Qwen2.5-7B-Instruct"
    for template in (chat(data_folder, name, (ALPACA,)), make_template("instruction", examples=[ALPACA])):
        rendered = template.render_document(talk(ASK, CODE_ANSWER, THANKS, BYE))
        assert [segment.supervised for segment in rendered.segments] == [False, True, False, True]
        assert ALPACA.reference in rendered.segments[0].text


def test_a_template_that_writes_the_past_otherwise_teaches_the_last_answer_only(data_folder: Path) -> None:
    """Mistral puts the system message into the last question: earlier ones lack it, which the model never sees when it answers them."""
    rendered = chat(data_folder, "mistralai-Mistral-Nemo-Instruct-2407").render_document(talk(ASK, CODE_ANSWER, THANKS, BYE, system=SYSTEM))
    assert spans(rendered) == [(f"<s>[INST]{ASK}[/INST]{CODE_ANSWER}</s>[INST]{SYSTEM}\n\n{THANKS}[/INST]", False), (BYE, True)]


def test_reasoning_that_is_dropped_from_the_past_is_not_learned_there() -> None:
    """As in templates of reasoning models: what came before </think> is left out of all answers but the last."""
    source = (
        "{% for m in messages %}{% if m.role == 'assistant' and not loop.last %}A:{{ m.content.split('</think>')[-1] }}#"
        "{% else %}{{ m.role[0] | upper }}:{{ m.content }}#{% endif %}{% endfor %}{% if add_generation_prompt %}A:{% endif %}"
    )
    rendered = make_template("chat", source).render_document(talk("q", "<think>hm</think>a", "r", "b", "s", "<think>oh</think>c"))
    assert spans(rendered) == [("U:q#A:a#U:r#A:", False), ("b#", True), ("U:s#A:", False), ("<think>oh</think>c#", True)]


def test_what_counts_for_the_loss() -> None:
    rendered = make_template("instruction").render_document(talk("a", "b", "c", "d", "e", "f"))
    assert rendered.supervised("completion") == (False, False, False, False, False, True)
    assert rendered.supervised("assistant") == (False, True, False, True, False, True)
    assert rendered.supervised("all") == (True,) * 6
    pair = make_template("instruction").render(ADD)
    assert pair.supervised("completion") == pair.supervised("assistant") == (False, True)
    assert (rendered.prompt + rendered.completion, rendered.completion) == (rendered.text, "f")


def test_plain_code_is_learned_as_it_is(data_folder: Path) -> None:
    for template in templates(data_folder).values():
        rendered = template.render_document(Document("code/0", text=CODE.reference))
        assert rendered == Rendered((Segment(CODE.reference, supervised=True, ends_turn=True),))
        assert (rendered.prompt, rendered.completion, rendered.eos_follows(0)) == ("", CODE.reference, True)




def test_conversations_of_any_shape() -> None:
    """One role twice is one turn; an answer to nothing is left out; what follows the last answer is left out."""
    template = make_template("docstring")
    wanted = "Prompt: a\n\nb\nCode:\nc\n\nd"
    said = [("assistant", "hi"), ("user", "a"), ("user", "b"), ("assistant", "c"), ("assistant", "d"), ("user", "e"), ("system", "f")]
    document = Document("talk/1", messages=tuple(Message(*turn) for turn in said))
    assert template.render_document(document).text == wanted
    middle = [("user", "a"), ("assistant", "b"), ("system", "s"), ("user", "c"), ("assistant", "d")]
    document = Document("talk/2", messages=tuple(Message(*turn) for turn in middle))
    assert template.render_document(document).text == "Prompt: a\nCode:\nb\n\nPrompt: s\n\nc\nCode:\nd"


@pytest.mark.parametrize("said", [("user",), ("assistant",), ("system", "assistant"), ("system", "user")])
def test_a_conversation_without_an_answer_is_refused(said: tuple[str, ...]) -> None:
    document = Document("talk/3", messages=tuple(Message(role, "x") for role in said))
    with pytest.raises(UserError, match="talk/3: the conversation has no answer by the assistant to learn from; leave it out"):
        make_template("instruction").render_document(document)


@pytest.mark.parametrize("source", ["{{ messages[0].content.nothing() }}", "{{ messages[0].content + 1 }}"])
def test_a_chat_template_that_fails_is_one_line(source: str) -> None:
    with pytest.raises(UserError, match="the chat template fails on this conversation: "):
        make_template("chat", source).render_document(talk("a", "b"))


# Of all texts and ids, prompt and completion, as they were when a rendered pair was two strings.
GOLDEN = {
    "instruction": "f4a64a0f10f41241",
    "alpaca": "ad38c44ce95ffd5c",
    "docstring": "6bfd64bb8971473b",
    "completion": "ad37bc65644dee4b",
    "austin-3shot": "a65cc1e081e1390c",
    "austin-0shot": "8ab1c8e3dd38f324",
    "incoder": "1cd817ddc60709d7",
    "Qwen-Qwen2.5-7B-Instruct": "8bf0be1e77970e94",
    "microsoft-Phi-3.5-mini-instruct": "bea1bccc75af0f9f",
    "mistralai-Mistral-Nemo-Instruct-2407": "530e850b28c77145",
    "meta-llama-Llama-3.1-8B-Instruct": "5e779fb777e3f406",
}


@pytest.mark.parametrize("name", GOLDEN)
def test_pairs_have_the_texts_and_ids_that_they_always_had(name: str, data_folder: Path) -> None:
    assert fingerprint(templates(data_folder)[name], data_folder) == GOLDEN[name]


def fingerprint(template: Template, data: Path) -> str:
    sources = (conala.load_train(data / conala.TRAIN_FILE), humaneval.load(data / humaneval.FILE), mbpp.load(data / mbpp.FILE))
    problems: list[Problem] = [one for source in sources for one in source[:20]]
    digest = hashlib.sha256()
    for problem in (*problems, *leetcode.load(data / leetcode.FILE)[:5], ADD, ALPACA, CODE, WISH_AND_CODE, MBPP):
        rendered = template.render(problem)
        ids = [encode_pair(rendered, tokenizer(data)) for tokenizer in (gpt2, llama2)]
        digest.update(repr((rendered.prompt, rendered.completion, rendered.has_special, ids)).encode())
    return digest.hexdigest()[:16]


@pytest.mark.parametrize("style", [style for style in STYLES if style not in ("chat", "austin-3shot")])
@pytest.mark.parametrize("system", ["", SYSTEM])
def test_a_conversation_is_asked_with_the_ids_of_its_training(style: str, system: str, data_folder: Path) -> None:
    """EOS after earlier answers included; a single question is the prompt of that question."""
    template, tokenizer = make_template(style), gpt2(data_folder)
    document = talk(ASK, CODE_ANSWER, THANKS, BYE, system=system)
    asked = encode_context(template.conversation(document.messages[:-1]), tokenizer)
    learned, counted = encode(template.render_document(document), tokenizer)
    assert asked == learned[: len(asked)]
    assert counted.index(True) == len(asked)  # the last answer begins right there
    one = template.conversation((Message("user", ASK),))
    assert encode_context(one, tokenizer) == encode_prompt(template.prompt(Problem("", instruction=ASK)), tokenizer)


@pytest.mark.parametrize("name", CHATS)
def test_a_chat_template_asks_as_it_taught(name: str, data_folder: Path) -> None:
    template, document = chat(data_folder, name), talk(ASK, CODE_ANSWER, THANKS, BYE)
    asked = template.conversation(document.messages[:-1])
    assert asked.has_special
    assert template.render_document(document).prompt == asked.prompt


def test_a_conversation_that_ends_with_an_answer_asks_nothing() -> None:
    for turns in ((), talk(ASK, BYE).messages):
        with pytest.raises(UserError, match="the last message must be the user's"):
            make_template("instruction").conversation(turns)
