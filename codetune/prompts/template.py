"""How a problem is written as text: one object renders both the training text and the inference prompt.

A rendered pair is `prompt` + `completion`; the prompt that a model sees at inference is that same `prompt`, so what is
generated continues exactly what was trained. Styles:

    instruction   ### Instruction: / ### Response:
    alpaca        Stanford Alpaca's full preamble (Taori et al. 2023), with and without ### Input:
    docstring     Prompt: ... Code: ... (the CodeXGLUE study's)
    chat          the tokenizer's own chat template
    completion    the code before, nothing else (HumanEval); an instruction becomes a docstring above the code
    austin-3shot  MBPP as it was published (Austin et al. 2021), after its tasks 2, 3 and 4 with their answers
    austin-0shot  the same without examples
    incoder       MBPP as a docstring of wish and first test (Fried et al. 2022; EvalPlus shows MBPP+ so, too)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import jinja2
import jinja2.sandbox

from codetune.errors import UserError, nearest
from codetune.prompts.extract import defines
from codetune.records import Problem

AUSTIN_3SHOT = "austin-3shot"
STYLES = ("instruction", "alpaca", "docstring", "chat", "completion", AUSTIN_3SHOT, "austin-0shot", "incoder")
_ALPACA = "Below is an instruction that describes a task{}. Write a response that appropriately completes the request.\n\n"
_AUSTIN_EXAMPLES = 3
_CODE_STOPS = ("\nclass ", "\ndef ", "\n#", "\n@", "\nprint(", "\nif ", "\n```")
_INCODER_STOPS = ("\nclass", "\nassert", '\n"""', "\nprint", "\nif", "\n<|/", "\n```")
_MODULE_STOPS = ('\n"""', "\n'''")


@dataclass(frozen=True, slots=True)
class Rendered:
    """A training text in its two parts. `has_special` means that the text itself holds BOS and turn marks."""

    prompt: str
    completion: str
    has_special: bool = False

    @property
    def text(self) -> str:
        return self.prompt + self.completion


@dataclass(frozen=True, slots=True)
class Template:
    """One prompt style, with worked examples before the prompt where `examples` are given (in-context learning)."""

    style: str
    chat_template: str | None = None
    examples: tuple[Problem, ...] = ()
    bos_token: str = ""
    eos_token: str = ""

    def render(self, problem: Problem) -> Rendered:
        """The training text: prompt and completion. Token ids of both are made apart, so they meet at a token's edge."""
        if self.style == "chat":
            return self._chat(problem)
        end = "\n[DONE]\n\n" if self.style == AUSTIN_3SHOT else "\n\n"
        shots = "".join(self._one(example).text + end for example in self.examples)
        one = self._one(problem)
        return Rendered(shots + one.prompt, one.completion)

    def prompt(self, problem: Problem) -> str:
        """What the model is given at inference: always a prefix of the training text."""
        return self.render(problem).prompt

    def continues_code(self, problem: Problem) -> bool:
        """Whether an answer is the text after `problem.prompt` (else it is a whole program)."""
        return self.style == "completion" and bool(problem.prompt)

    def stop_sequences(self, problem: Problem) -> tuple[str, ...]:
        """Where an answer ends at the latest. For chat, none: they would cut the answer before the code."""
        if self.style == "chat":
            return ()
        if self.continues_code(problem):
            opens = not problem.entry_point or defines(problem.prompt, problem.entry_point)
            return _CODE_STOPS if opens else _MODULE_STOPS
        if self.style.startswith("austin"):
            return ("[DONE]",)
        return {"docstring": ("\nPrompt:",), "completion": _MODULE_STOPS, "incoder": _INCODER_STOPS}.get(self.style, ("\n### ",))

    def _one(self, problem: Problem) -> Rendered:
        if self.style == "completion":
            wish = f'"""{_wish(problem)}"""\n' if problem.instruction or not problem.prompt else ""
            return Rendered(wish + problem.prompt, problem.reference)
        answer = problem.reference_program
        if self.style.startswith("austin"):
            tests = f" Your code should pass these tests:\n\n{problem.input}" if problem.input else ""
            asked = problem.instruction or _wish(problem)
            return Rendered(f"You are an expert Python programmer, and here is your task: {asked}{tests}\n[BEGIN]\n", answer)
        if self.style == "incoder":
            lines = [problem.instruction or _wish(problem), *problem.input.splitlines()[:1]]
            return Rendered("\n".join(['"""', *lines, '"""', ""]), answer)
        if self.style == "docstring":
            return Rendered(f"Prompt: {_wish(problem)}\nCode:\n", answer)
        if self.style == "alpaca" and problem.input:
            head = _ALPACA.format(", paired with an input that provides further context")
            return Rendered(f"{head}### Instruction:\n{problem.instruction}\n\n### Input:\n{problem.input}\n\n### Response:\n", answer)
        head = _ALPACA.format("") if self.style == "alpaca" else ""
        return Rendered(f"{head}### Instruction:\n{_wish(problem)}\n\n### Response:\n", answer)

    def _chat(self, problem: Problem) -> Rendered:
        """The chat template's own text, examples as earlier turns: what comes after the generation prompt is the completion."""
        turns = [turn for one in (*self.examples, problem) for turn in _turns(one)]
        whole, prompt = self._jinja(turns, False), self._jinja(turns[:-1], True)
        if not whole.startswith(prompt):  # some templates add to the prompt what training text lacks: keep the common rule
            return Rendered(prompt, problem.reference_program, True)
        completion = whole[len(prompt) :].rstrip("\n")
        return Rendered(prompt, completion.removesuffix(self.eos_token) if self.eos_token else completion, True)

    def _jinja(self, messages: list[dict[str, str]], add_generation_prompt: bool) -> str:
        names = {"bos_token": self.bos_token, "eos_token": self.eos_token}
        return _compiled(self.chat_template or "").render(messages=messages, add_generation_prompt=add_generation_prompt, **names)


def make_template(
    style: str, chat_template: str | None = None, examples: Sequence[Problem] = (), bos_token: str = "", eos_token: str = ""
) -> Template:
    """The template of a style. Raises UserError for an unknown style, one without its worked examples, or `chat` without its template."""
    if style not in STYLES:
        raise UserError(f"no prompt style {style!r}: {nearest(style, STYLES)}")
    if style == AUSTIN_3SHOT and len(examples) != _AUSTIN_EXAMPLES:
        raise UserError(f"prompt style {style!r} has {_AUSTIN_EXAMPLES} worked examples, here are {len(examples)}: use 'austin-0shot'")
    if style == "chat" and not chat_template:
        raise UserError("prompt style 'chat': this model's tokenizer has no chat template; use 'instruction' or 'alpaca'")
    return Template(style, chat_template, tuple(examples), bos_token, eos_token)


def _turns(problem: Problem) -> list[dict[str, str]]:
    return [{"role": "user", "content": _wish(problem)}, {"role": "assistant", "content": problem.reference_program}]


@cache
def _compiled(chat_template: str) -> jinja2.Template:
    """With what transformers offers to chat templates; their "today" is fixed, so that prompts do not change overnight."""
    extensions = ["jinja2.ext.loopcontrols"]
    environment = jinja2.sandbox.ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=extensions)
    environment.globals["raise_exception"] = _raise
    environment.globals["strftime_now"] = lambda _: "2026-01-01"
    return environment.from_string(chat_template)


def _wish(problem: Problem) -> str:
    """The request in words; for a problem that is only code, the request to complete it."""
    if not problem.instruction:
        return f"Complete this Python program:\n{problem.prompt.rstrip()}"
    return f"{problem.instruction}\n{problem.input}" if problem.input else problem.instruction


def _raise(message: str) -> None:
    raise UserError(f"the chat template refuses this conversation: {message}")
