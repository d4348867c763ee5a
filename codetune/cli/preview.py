"""`codetune data preview`: what training will read, example by example, with the text that counts for the loss set off.

    codetune data preview recipes/train-lora.yaml
    codetune data preview my-data.jsonl --style alpaca --model codetune-base --ids
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.text import Text

from codetune.cli.output import to_stderr, to_stdout
from codetune.config import LossOn, Style, TrainRecipe, is_recipe, load_tree, recipe_path, validate
from codetune.data.encode import Encoded, encode, endings_of
from codetune.data.sources import documents
from codetune.data_recipe import DataRecipe, SourceConfig, TokensConfig
from codetune.errors import UserError
from codetune.prompts.infill import infilling_of
from codetune.prompts.rendered import Rendered
from codetune.prompts.template import Template, make_template
from codetune.records import Document

if TYPE_CHECKING:
    from codetune.models.load import TextTokenizer

OPEN, CLOSE = "⟦", "⟧"  # around what counts for the loss, where there is no colour
_COUNTS, _PLAIN, _SPECIAL = "bold green", "", "reverse"
# Data must not steer the terminal: control characters are shown as the pictures that Unicode has for them.
_PICTURES = {code: 0x2400 + code for code in range(32) if chr(code) not in "\n\t"} | {127: 0x2421}
Stretch = tuple[str, str]  # text and its style


def preview(
    what: Annotated[str, typer.Argument(metavar="RECIPE_OR_DATA", help="A training or data recipe, a file, or a name of `data list`.")],
    model: Annotated[str | None, typer.Option(help="Whose tokenizer and chat template; default: the recipe's, else text alone.")] = None,
    style: Annotated[Style | None, typer.Option(help="Prompt style; default: the recipe's, else instruction.")] = None,
    loss_on: Annotated[LossOn | None, typer.Option(help="What counts for the loss; default: the recipe's, else completion.")] = None,
    count: Annotated[int, typer.Option(min=1, help="How many examples of each source.")] = 3,
    ids: Annotated[bool, typer.Option("--ids", help="Token ids, too.")] = False,
    overrides: Annotated[list[str] | None, typer.Option("--set", help="Change a value of the recipe.")] = None,
) -> None:
    """Show examples as training will read them. What counts for the loss is green, or stands in ⟦ ⟧ where there is no colour."""
    plan = _plan(what, overrides or [])
    given = {"model": model, "prompt_style": style, "loss_on": loss_on}
    tokens = plan.tokens.model_copy(update={key: value for key, value in given.items() if value is not None})
    if ids and not tokens.model:
        raise UserError("--ids needs a tokenizer: give --model, for example --model codetune-base")
    tokenizer = _tokenizer(tokens.model) if tokens.model else None
    template = _template(tokens.prompt_style, tokenizer)
    infilling = infilling_of(tokens.infilling, tokenizer.vocabulary if tokenizer else (), plan.seed)
    printer = Printer(to_stdout(), tokens.loss_on, tokenizer, ids)
    for source in plan.sources:
        for document in islice(_documents(source, plan.path), count):
            printer.show(document, infilling.render(document, template) if infilling else template.render_document(document))
    printer.conclude()


@dataclass(frozen=True, slots=True)
class _Plan:
    """Which documents, and how they are written; a model of "" stands for text alone."""

    sources: tuple[SourceConfig, ...]
    tokens: TokensConfig
    path: Path | None = None
    seed: int = 0


def _plan(what: str, overrides: list[str]) -> _Plan:
    path = recipe_path(Path(what))
    if not is_recipe(path):
        if overrides:
            raise UserError(f"--set changes a recipe, and {what} is none: use --style and --loss-on")
        return _Plan((SourceConfig(source=what),), TokensConfig(model=""))
    tree = load_tree(path, overrides)
    if "models" in tree:
        raise UserError(f"{path} is a study's recipe, with several data sets and models: give one data set, with --model and --style")
    if "sources" in tree:
        recipe = validate(tree, DataRecipe, str(path))
        return _Plan(recipe.sources, recipe.tokens or TokensConfig(model=""), recipe.path, recipe.seed)
    training = validate(tree, TrainRecipe, str(path))
    data = training.data
    source = SourceConfig(source=data.source, path=data.path, split=data.split, max_documents=data.max_examples)
    written = TokensConfig(
        model=training.model, prompt_style=data.prompt_style, loss_on=data.loss_on, infilling=data.infilling,
        max_seq_len=training.train.max_seq_len,
    )  # fmt: skip
    return _Plan((source,), written, seed=training.seed)


def _documents(source: SourceConfig, root: Path | None) -> Iterator[Document]:
    console = to_stderr()
    yield from documents(source, root, notice=lambda where, reason: console.print(f"passed over {where}: {reason}"))


def _tokenizer(model: str) -> TextTokenizer:
    from codetune.models.load import load_tokenizer  # torch comes with it, and text alone needs none

    return load_tokenizer(model)


def _template(style: Style, tokenizer: TextTokenizer | None) -> Template:
    if tokenizer is not None:
        return tokenizer.template(style)
    if style == "chat":
        raise UserError("prompt style 'chat' is the tokenizer's own chat template: give --model")
    return make_template(style)


class Printer:
    """Examples one after the other, and at the end how they end."""

    def __init__(self, console: Console, loss_on: LossOn, tokenizer: TextTokenizer | None, ids: bool) -> None:
        self.console, self.loss_on, self.tokenizer, self.ids = console, loss_on, tokenizer, ids
        self.coloured = console.is_terminal and console.color_system is not None and not console.no_color
        self.encoded = list[Encoded]()
        self.shown = 0

    def show(self, document: Document, rendered: Rendered) -> None:
        self.shown += 1
        flags = rendered.supervised(self.loss_on)
        lengths = [len(segment.text) for segment in rendered.segments]
        size, unit = (sum(lengths), sum(length for length, flag in zip(lengths, flags, strict=True) if flag)), "characters"
        if self.tokenizer is not None:
            made = encode(rendered, self.tokenizer, self.loss_on)
            self.encoded.append(made)
            size, unit = (len(made[0]), sum(made[1][1:])), "tokens"
        what = f"{_kind(document, rendered, flags)}: {size[0]:,} {unit}, {size[1]:,} of them count for the loss"
        self._print([(f"--- {self.shown} {document.id} ({what})\n", "bold")])
        self._print([*self._stretches(rendered, flags), ("\n", _PLAIN)])
        if self.ids:
            tokens = zip(*self.encoded[-1], strict=True)
            self._print([*((f"{token} ", _COUNTS if flag else _PLAIN) for token, flag in tokens), ("\n", _PLAIN)])

    def conclude(self) -> None:
        if not self.shown:
            raise UserError("there is no example in it")
        if self.tokenizer is not None:
            print(endings_of(self.encoded, (self.tokenizer.eos_id,)).line)

    def _stretches(self, rendered: Rendered, flags: tuple[bool, ...]) -> Iterator[Stretch]:
        """The text with BOS and EOS where tokenising puts them."""
        tokenizer = self.tokenizer
        if tokenizer is not None and tokenizer.bos_id is not None and not rendered.has_special:
            yield tokenizer.bos_token, _SPECIAL
        for number, (segment, flag) in enumerate(zip(rendered.segments, flags, strict=True)):
            style = _COUNTS if flag else _PLAIN
            yield segment.text, style
            if rendered.eos_follows(number):
                yield tokenizer.eos_token if tokenizer else "<EOS>", f"{style} {_SPECIAL}".strip()

    def _print(self, stretches: list[Stretch]) -> None:
        safe = [(text.translate(_PICTURES).encode("utf-8", "backslashreplace").decode(), style) for text, style in stretches]
        if self.coloured:
            self.console.print(Text.assemble(*safe), end="")
        else:
            print(_bracketed(safe), end="")


def _bracketed(stretches: list[Stretch]) -> str:
    """What counts, in brackets; neighbours that count share a pair."""
    parts, inside = list[str](), False
    for text, style in stretches:
        counts = _COUNTS in style
        if counts != inside and text:
            parts.append(OPEN if counts else CLOSE)
            inside = counts
        parts.append(text)
    return "".join(parts) + CLOSE * inside


def _kind(document: Document, rendered: Rendered, flags: tuple[bool, ...]) -> str:
    if document.kind == "chat":
        asked = sum(message.role == "assistant" for message in document.messages)
        learned = sum(flag and segment.ends_turn for segment, flag in zip(rendered.segments, flags, strict=True))
        return f"conversation, {learned} of {asked} answers are learned"
    if document.kind == "code":
        return "code with a hole" if len(rendered.segments) > 1 else "code"
    return "pair"
