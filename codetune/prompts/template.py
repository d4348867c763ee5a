"""How a problem is written as text: one object renders both the training text and the inference prompt.

A rendered pair is `prompt` + `completion`; the prompt that a model sees at inference is that same `prompt`, so what is
generated continues exactly what was trained. Conversations repeat that turn by turn; plain code has no prompt. Styles:

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

from codetune.errors import UserError, nearest
from codetune.prompts.conversation import exchanges, learnable, render_turns, write_with
from codetune.prompts.extract import defines
from codetune.prompts.rendered import Rendered as Rendered
from codetune.prompts.rendered import Segment
from codetune.records import Document, Message, Problem

AUSTIN_3SHOT = "austin-3shot"
STYLES = ("instruction", "alpaca", "docstring", "chat", "completion", AUSTIN_3SHOT, "austin-0shot", "incoder")
_ALPACA = "Below is an instruction that describes a task{}. Write a response that appropriately completes the request.\n\n"
_AUSTIN_EXAMPLES = 3
_CODE_STOPS = ("\nclass ", "\ndef ", "\n#", "\n@", "\nprint(", "\nif ", "\n```")
_INCODER_STOPS = ("\nclass", "\nassert", '\n"""', "\nprint", "\nif", "\n<|/", "\n```")
_MODULE_STOPS = ('\n"""', "\n'''")


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
            return self._chat(_turns(problem))
        one = self._one(problem)
        return Rendered.pair(self._shots() + one.prompt, one.completion)

    def render_document(self, document: Document) -> Rendered:
        """The training text of whatever is learned from. Raises UserError for a conversation without an answer, or that the chat
        template refuses."""
        if document.kind == "code":
            return Rendered.plain(document.text)
        if document.kind == "pair":
            return self.render(document.problem)
        messages = learnable(document)
        if self.style == "chat":
            return self._chat([{"role": message.role, "content": message.content} for message in messages])
        return self._turn_by_turn(messages)

    def prompt(self, problem: Problem) -> str:
        """What the model is given at inference: always a prefix of the training text."""
        return self.render(problem).prompt

    def conversation(self, messages: Sequence[Message]) -> Rendered:
        """What a model is given for the next answer to a conversation whose last turn is the user's: its training text up to there.

        Of one question it is `prompt` of that question. Raises UserError where the last turn is an answer already, or the chat template
        refuses the turns.
        """
        if not messages or messages[-1].role == "assistant":
            raise UserError("the conversation ends with an answer: the last message must be the user's")
        turns = learnable(Document("conversation", messages=(*messages, Message("assistant", ""))))
        if self.style != "chat":
            return self._turn_by_turn(turns)
        shots = [turn for example in self.examples for turn in _turns(example)]
        write = write_with(self.chat_template or "", self.bos_token, self.eos_token)
        asked = [{"role": message.role, "content": message.content} for message in turns[:-1]]
        return Rendered.pair(write([*shots, *asked], True), "", has_special=True)

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
            return Rendered.pair(wish + problem.prompt, problem.reference)
        answer = problem.reference_program
        if self.style.startswith("austin"):
            tests = f" Your code should pass these tests:\n\n{problem.input}" if problem.input else ""
            asked = problem.instruction or _wish(problem)
            return Rendered.pair(f"You are an expert Python programmer, and here is your task: {asked}{tests}\n[BEGIN]\n", answer)
        if self.style == "incoder":
            lines = [problem.instruction or _wish(problem), *problem.input.splitlines()[:1]]
            return Rendered.pair("\n".join(['"""', *lines, '"""', ""]), answer)
        if self.style == "docstring":
            return Rendered.pair(f"Prompt: {_wish(problem)}\nCode:\n", answer)
        if self.style == "alpaca" and problem.input:
            head = _ALPACA.format(", paired with an input that provides further context")
            return Rendered.pair(f"{head}### Instruction:\n{problem.instruction}\n\n### Input:\n{problem.input}\n\n### Response:\n", answer)
        head = _ALPACA.format("") if self.style == "alpaca" else ""
        return Rendered.pair(f"{head}### Instruction:\n{_wish(problem)}\n\n### Response:\n", answer)

    def _shots(self) -> str:
        end = "\n[DONE]\n\n" if self.style == AUSTIN_3SHOT else "\n\n"
        return "".join(self._one(example).text + end for example in self.examples)

    def _turn_by_turn(self, messages: Sequence[Message]) -> Rendered:
        """Every question in the form of a pair, each answer ended by EOS. A system message goes first, for Alpaca as its preamble."""
        opens = messages[0].role == "system"
        system = f"{messages[0].content}\n\n" if opens else ""
        segments = list[Segment]()
        for question, answer in exchanges(messages[opens:]):
            one = self._one(Problem("", instruction=question, reference=answer))
            repeats = self.style == "alpaca" and (system or segments)
            asked = one.prompt.removeprefix(_ALPACA.format("")) if repeats else one.prompt
            lead = "\n\n" if segments else self._shots() + system
            segments += [Segment(lead + asked, supervised=False), Segment(one.completion, supervised=True, ends_turn=True)]
        return Rendered(tuple(segments))

    def _chat(self, turns: Sequence[dict[str, str]]) -> Rendered:
        """The chat template's own text, examples as earlier turns: what comes after the generation prompt is the completion."""
        shots = [turn for example in self.examples for turn in _turns(example)]
        write = write_with(self.chat_template or "", self.bos_token, self.eos_token)
        return render_turns([*shots, *turns], write, self.eos_token, shown=len(shots))


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


def _wish(problem: Problem) -> str:
    """The request in words; for a problem that is only code, the request to complete it."""
    if not problem.instruction:
        return f"Complete this Python program:\n{problem.prompt.rstrip()}"
    return f"{problem.instruction}\n{problem.input}" if problem.input else problem.instruction
