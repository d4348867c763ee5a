"""Prompt styles, to the letter, and the one rule of all: the inference prompt is a prefix of the training text."""

from __future__ import annotations

from pathlib import Path

import pytest

from codetune.data import basics, conala, humaneval
from codetune.errors import UserError
from codetune.prompts.template import STYLES, Rendered, Template, make_template
from codetune.records import Problem

ADD = Problem("add", instruction="Add two numbers.", reference="def add(a, b):\n    return a + b\n")
ALPACA = Problem("sort", instruction="Sort this.", input="3 1 2", reference="sorted([3, 1, 2])")
CODE = Problem("code", prompt='def one():\n    """Return 1."""\n', reference="    return 1\n")
HEAD = "Below is an instruction that describes a task"
TAIL = "Write a response that appropriately completes the request.\n\n"

# The publishers' names of BOS and EOS, and what their templates put around one wish and its answer.
CHATS = {
    "Qwen-Qwen2.5-7B-Instruct": (
        "", "<|im_end|>",
        "<|im_start|>system\nYou are Qwen, created by Alibaba Cloud. You are a helpful assistant.<|im_end|>\n"
        "<|im_start|>user\nAdd two numbers.<|im_end|>\n<|im_start|>assistant\n",
        ADD.reference,
    ),
    "microsoft-Phi-3.5-mini-instruct": (
        "<s>", "<|endoftext|>", "<|user|>\nAdd two numbers.<|end|>\n<|assistant|>\n", ADD.reference + "<|end|>\n",
    ),
    "mistralai-Mistral-Nemo-Instruct-2407": ("<s>", "</s>", "<s>[INST]Add two numbers.[/INST]", ADD.reference),
    "meta-llama-Llama-3.1-8B-Instruct": (
        "<|begin_of_text|>", "<|eot_id|>",
        "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\nCutting Knowledge Date: December 2023\nToday Date: 26 Jul 2024\n\n"
        "<|eot_id|><|start_header_id|>user<|end_header_id|>\n\nAdd two numbers.<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\n",
        ADD.reference.strip(),
    ),
}  # fmt: skip


def chat(data: Path, name: str, examples: tuple[Problem, ...] = ()) -> Template:
    bos, eos, *_ = CHATS[name]
    return make_template("chat", (data / "chat_templates" / f"{name}.jinja").read_text(), examples, bos, eos)


@pytest.mark.parametrize(
    ("style", "problem", "prompt", "completion"),
    [
        ("instruction", ADD, "### Instruction:\nAdd two numbers.\n\n### Response:\n", ADD.reference),
        ("instruction", ALPACA, "### Instruction:\nSort this.\n3 1 2\n\n### Response:\n", ALPACA.reference),
        (
            "instruction", CODE,
            '### Instruction:\nComplete this Python program:\ndef one():\n    """Return 1."""\n\n### Response:\n',
            CODE.prompt + CODE.reference,
        ),
        ("alpaca", ADD, f"{HEAD}. {TAIL}### Instruction:\nAdd two numbers.\n\n### Response:\n", ADD.reference),
        (
            "alpaca", ALPACA,
            f"{HEAD}, paired with an input that provides further context. {TAIL}"
            "### Instruction:\nSort this.\n\n### Input:\n3 1 2\n\n### Response:\n",
            ALPACA.reference,
        ),
        ("docstring", ADD, "Prompt: Add two numbers.\nCode:\n", ADD.reference),
        ("completion", ADD, '"""Add two numbers."""\n', ADD.reference),
        ("completion", CODE, CODE.prompt, CODE.reference),
    ],
)  # fmt: skip
def test_the_exact_text(style: str, problem: Problem, prompt: str, completion: str) -> None:
    assert make_template(style).render(problem) == Rendered(prompt, completion)


def all_kinds(data: Path) -> list[Problem]:
    plain = [*basics.load("train")[:50], *conala.load_train(data / conala.TRAIN_FILE)[:50], *humaneval.load(data / humaneval.FILE)]
    return [*plain, ADD, ALPACA, CODE]


@pytest.mark.parametrize("style", [style for style in STYLES if style != "chat"])
def test_the_prompt_is_a_prefix_of_the_training_text(style: str, data_folder: Path) -> None:
    template = make_template(style)
    for problem in all_kinds(data_folder):
        rendered = template.render(problem)
        assert rendered.text.startswith(template.prompt(problem))
        assert rendered.text[len(template.prompt(problem)) :] == rendered.completion
        assert rendered.completion.endswith(problem.reference)
        assert rendered.prompt.endswith("\n")


@pytest.mark.parametrize("name", CHATS)
def test_chat_templates_to_the_letter(name: str, data_folder: Path) -> None:
    """The completion ends where the tokenizer's EOS comes, which tokenising adds: EOS itself is in neither part."""
    _, eos, prompt, completion = CHATS[name]
    assert chat(data_folder, name).render(ADD) == Rendered(prompt, completion, has_special=True)
    assert eos not in completion


@pytest.mark.parametrize("name", CHATS)
def test_chat_prompts_are_prefixes_too(name: str, data_folder: Path) -> None:
    template = chat(data_folder, name)
    for problem in all_kinds(data_folder):
        rendered = template.render(problem)
        assert rendered.text.startswith(template.prompt(problem))
        assert problem.reference_program.strip() in rendered.completion


@pytest.mark.parametrize("name", CHATS)
def test_chat_examples_are_earlier_turns(name: str, data_folder: Path) -> None:
    """One conversation with one BOS; each earlier answer ends as the model ends its own."""
    bos, eos, _, completion = CHATS[name]
    rendered = chat(data_folder, name, (ALPACA,)).render(ADD)
    turn_end = "<|end|>" if "Phi" in name else eos
    assert f"{ALPACA.reference}{turn_end}" in rendered.prompt
    assert rendered.completion == completion
    assert not bos or rendered.prompt.count(bos) == (0 if "Phi" in name else 1)
    assert rendered.prompt.index("3 1 2") < rendered.prompt.index(ADD.instruction)


def test_a_chat_template_that_refuses_is_a_users_error() -> None:
    template = make_template("chat", "{{ raise_exception('no users here') }}")
    with pytest.raises(UserError, match="the chat template refuses this conversation: no users here"):
        template.render(ADD)


def test_a_prompt_that_the_training_text_lacks_is_kept() -> None:
    """Some templates add to the generation prompt (a mark for thinking, say): the answer then follows that prompt."""
    template = make_template("chat", "{{ messages[-1].content }}{% if add_generation_prompt %}<think></think>{% endif %}")
    assert template.render(ADD) == Rendered("Add two numbers.<think></think>", ADD.reference, has_special=True)


def test_examples_come_before_the_prompt() -> None:
    plain = make_template("docstring")
    shots = make_template("docstring", examples=[ALPACA, ADD])
    wanted = f"{plain.render(ALPACA).text}\n\n{plain.render(ADD).text}\n\n"
    assert shots.prompt(CODE) == wanted + plain.prompt(CODE)
    assert shots.render(CODE).completion == plain.render(CODE).completion


@pytest.mark.parametrize(
    ("style", "problem", "stops"),
    [
        ("instruction", ADD, ("\n### ",)),
        ("alpaca", ADD, ("\n### ",)),
        ("docstring", ADD, ("\nPrompt:",)),
        ("completion", ADD, ('\n"""', "\n'''")),
        ("completion", CODE, ("\nclass ", "\ndef ", "\n#", "\n@", "\nprint(", "\nif ", "\n```")),
        ("chat", ADD, ()),
    ],
)
def test_stop_sequences(style: str, problem: Problem, stops: tuple[str, ...]) -> None:
    assert Template(style, "{{ messages }}").stop_sequences(problem) == stops


@pytest.mark.parametrize("style", [style for style in STYLES if style != "chat"])
def test_no_stop_sequence_cuts_a_reference(style: str, data_folder: Path) -> None:
    """But for HumanEval's own published stops, which cut the canonical solutions that define a second function."""
    template = make_template(style)
    for problem in all_kinds(data_folder):
        if not template.continues_code(problem):
            assert not any(stop in template.render(problem).completion for stop in template.stop_sequences(problem))


def test_only_completion_style_continues_code() -> None:
    assert make_template("completion").continues_code(CODE)
    assert not make_template("completion").continues_code(ADD)
    assert not make_template("instruction").continues_code(CODE)


def test_faulty_styles() -> None:
    with pytest.raises(UserError, match="no prompt style 'alpacca': did you mean 'alpaca'"):
        make_template("alpacca")
    with pytest.raises(UserError, match="has no chat template; use 'instruction'"):
        make_template("chat")
