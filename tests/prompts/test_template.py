"""Prompt styles, to the letter, and the one rule of all: the inference prompt is a prefix of the training text."""

from __future__ import annotations

from pathlib import Path

import pytest

from codetune.data import basics, conala, humaneval, leetcode, mbpp
from codetune.data.sources import austin_examples
from codetune.errors import UserError
from codetune.prompts.template import AUSTIN_3SHOT, STYLES, Rendered, Template, make_template
from codetune.records import Problem

ADD = Problem("add", instruction="Add two numbers.", reference="def add(a, b):\n    return a + b\n")
ALPACA = Problem("sort", instruction="Sort this.", input="3 1 2", reference="sorted([3, 1, 2])")
CODE = Problem("code", prompt='def one():\n    """Return 1."""\n', reference="    return 1\n")
WISH_AND_CODE = Problem("both", instruction="Return 1.", prompt="import os\n", entry_point="one", reference="def one():\n    return 1\n")
MBPP = Problem("m", instruction="Add two numbers.", input="assert add(1, 2) == 3\nassert add(0, 0) == 0", reference=ADD.reference)
AUSTIN = "You are an expert Python programmer, and here is your task: "
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
        ("completion", WISH_AND_CODE, '"""Return 1."""\nimport os\n', WISH_AND_CODE.reference),
        (
            "austin-0shot", MBPP,
            f"{AUSTIN}Add two numbers. Your code should pass these tests:\n\nassert add(1, 2) == 3\nassert add(0, 0) == 0\n[BEGIN]\n",
            MBPP.reference,
        ),
        ("austin-0shot", ADD, f"{AUSTIN}Add two numbers.\n[BEGIN]\n", ADD.reference),
        ("incoder", MBPP, '"""\nAdd two numbers.\nassert add(1, 2) == 3\n"""\n', MBPP.reference),
        ("incoder", ADD, '"""\nAdd two numbers.\n"""\n', ADD.reference),
    ],
)  # fmt: skip
def test_the_exact_text(style: str, problem: Problem, prompt: str, completion: str) -> None:
    assert make_template(style).render(problem) == Rendered.pair(prompt, completion)


def test_the_published_three_shots_of_mbpp(data_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tasks 2, 3 and 4 with all their asserts, each answer ended by [DONE], as in Austin et al. 2021."""
    monkeypatch.setenv("CODETUNE_DATA", str(data_folder))
    shots = austin_examples()
    assert [shot.task_id for shot in shots] == ["MBPP/2", "MBPP/3", "MBPP/4"]
    prompt = make_template(AUSTIN_3SHOT, examples=shots).prompt(MBPP)
    assert prompt.startswith(f"{AUSTIN}Write a function to find the similar elements from the given two tuple lists. Your code should pass")
    assert (prompt.count("[BEGIN]\n"), prompt.count("\n[DONE]\n\n"), prompt.count("\nassert ")) == (4, 3, 11)
    assert prompt.endswith("\n[DONE]\n\n" + make_template("austin-0shot").prompt(MBPP))


def test_styles_go_with_their_examples() -> None:
    with pytest.raises(UserError, match="'austin-3shot' has 3 worked examples, here are 0: use 'austin-0shot'"):
        make_template(AUSTIN_3SHOT)


def template_of(style: str) -> Template:
    return make_template(style, examples=[MBPP] * 3 if style == AUSTIN_3SHOT else ())


def all_kinds(data: Path) -> list[Problem]:
    plain = [*basics.load("train")[:50], *conala.load_train(data / conala.TRAIN_FILE)[:50], *humaneval.load(data / humaneval.FILE)]
    tested = [*mbpp.load(data / mbpp.FILE)[:50], *leetcode.load(data / leetcode.FILE)[:50]]
    return [*plain, *tested, ADD, ALPACA, CODE, WISH_AND_CODE, MBPP]


@pytest.mark.parametrize("style", [style for style in STYLES if style != "chat"])
def test_the_prompt_is_a_prefix_of_the_training_text(style: str, data_folder: Path) -> None:
    template = template_of(style)
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
    assert chat(data_folder, name).render(ADD) == Rendered.pair(prompt, completion, has_special=True)
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
    assert template.render(ADD) == Rendered.pair("Add two numbers.<think></think>", ADD.reference, has_special=True)


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
        ("completion", WISH_AND_CODE, ('\n"""', "\n'''")),
        ("austin-0shot", MBPP, ("[DONE]",)),
        ("incoder", MBPP, ("\nclass", "\nassert", '\n"""', "\nprint", "\nif", "\n<|/", "\n```")),
        ("chat", ADD, ()),
    ],
)
def test_stop_sequences(style: str, problem: Problem, stops: tuple[str, ...]) -> None:
    assert Template(style, "{{ messages }}").stop_sequences(problem) == stops


@pytest.mark.parametrize("style", [style for style in STYLES if style != "chat"])
def test_no_stop_sequence_cuts_a_reference(style: str, data_folder: Path) -> None:
    """But for the published stops of HumanEval and InCoder, which cut the references that go on after their first function."""
    template = template_of(style)
    for problem in all_kinds(data_folder):
        if style != "incoder" and (problem.instruction or not template.continues_code(problem)):
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
