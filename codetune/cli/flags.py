"""The flags that say which model writes, and how: those of `chat`, and with more those of `generate` and `evaluate`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, Literal

import typer

from codetune.config import DecodingConfig, Device, Precision, Quantize, validate
from codetune.errors import UserError, nearest
from codetune.models.stages import read
from codetune.prompts.template import STYLES
from codetune.shelf.kinds import CELL, STUDY

Endpoint = Literal["chat", "completions"]


@dataclass(frozen=True, slots=True)
class OpenFlags:
    """What answers, and how it is held in memory; each field is a flag."""

    engines: ClassVar[tuple[str, ...]] = ("own", "vllm", "openai")
    model: Annotated[str, typer.Option(help="codetune-base (ships with codetune), a folder, or a hub id; a server's name for it.")] = ""
    engine: Annotated[str, typer.Option(help="What writes: own; openai, a server; vllm (chat, mend and serve; CUDA).")] = "own"
    precision: Annotated[
        Precision | None, typer.Option(help="Of the weights, fp32 unless given. In bf16 a token may hang on the batch size.")
    ] = None
    device: Annotated[Device | None, typer.Option(help="What the own engine computes on. Default: a GPU where there is one.")] = None
    quantize: Annotated[
        Quantize | None, typer.Option(help="nf4: the model in 4 bits. Default: as in the training of the adapter, else none.")
    ] = None
    base_url: Annotated[str | None, typer.Option(help="The server of --engine openai, as in http://localhost:8000/v1.")] = None
    api_key_env: Annotated[
        str | None, typer.Option(help="The environment variable with the server's key, OPENAI_API_KEY unless given.")
    ] = None

    @property
    def asked_model(self) -> str:
        """The model, or where none is given the shipped one; of a server its first."""
        return self.model or ("" if self.engine == "openai" else "codetune-base")

    def require_consistent(self) -> None:
        """Raises UserError for an engine that there is not, and for flags that go with another one."""
        if self.engine not in OpenFlags.engines:
            raise UserError(f"no engine {self.engine!r}: {nearest(self.engine, OpenFlags.engines)}")
        for name, engines in _GOES_WITH.items():
            value = getattr(self, name, None)
            if value is not None and self.engine not in engines:
                flag = f"--{name.replace('_', '-')} {value[0] if isinstance(value, list) else value}"
                there = " or ".join(engine for engine in engines if engine in self.engines)
                raise UserError(f"{flag} goes with --engine {there}, not with {self.engine}: leave it out, or choose that engine")


_GOES_WITH = {
    "adapter": ("own", "vllm"), "precision": ("own",), "device": ("own",), "quantize": ("own",),
    "base_url": ("openai",), "endpoint": ("openai",), "concurrency": ("openai",), "api_key_env": ("openai",),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class WritingFlags(OpenFlags):
    """And how it writes."""

    prompt_style: Annotated[
        str | None, typer.Option(help=f"One of {', '.join(STYLES)}. Default: the one of the training, if known.")
    ] = None
    temperature: Annotated[float, typer.Option(help="0 is greedy; 0.2 with --top-p 0.95 is the published sampling.")] = 0.0
    top_p: Annotated[float, typer.Option(help="Draw from the likeliest tokens that together reach this share.")] = 1.0
    max_new_tokens: Annotated[int, typer.Option(help="The longest answer, in tokens.")] = 256
    seed: Annotated[int, typer.Option(help="Of the sampling; every sample has a random stream of its own.")] = 0

    def decoding(self) -> DecodingConfig:
        """The decoding flags, checked. Raises UserError naming every fault."""
        given = {name: getattr(self, name) for name in DecodingConfig.model_fields if hasattr(self, name)}
        decoding = validate(given, DecodingConfig, "decoding flags")
        n = decoding.n
        if n > 1 and decoding.temperature == 0:
            raise UserError(f"--n {n} at temperature 0 would write the same answer {n} times: add --temperature 0.2 --top-p 0.95")
        return decoding


@dataclass(frozen=True, slots=True)
class ModelFlags(WritingFlags):
    """A model, tuned or not."""

    adapter: Annotated[Path | None, typer.Option(help="What was tuned: a run folder (runs/x), a PEFT adapter, or a whole tuned model.")] = (
        None
    )


Adapters = Annotated[
    list[str] | None,
    typer.Option(help="NAME=DIR or DIR, any number of times: a run, a PEFT adapter, a whole tuned model, or a study with all its rows."),
]


@dataclass(frozen=True, slots=True)
class LiveFlags(WritingFlags):
    """A model that answers at once, with any number of adapters beside it."""

    adapter: Adapters = None


@dataclass(frozen=True, slots=True)
class ServedFlags(OpenFlags):
    """A model that answers others, with any number of adapters beside it: how it writes is said with each request."""

    adapter: Adapters = None


def adapters_by_name(given: Sequence[str], model: str) -> dict[str, Path]:
    """Folders by the names that they answer under: the given one, else the folder's; of a study, its rows'.

    Raises UserError for a name given twice, and a study that tuned nothing on `model`.
    """
    found: dict[str, Path] = {}
    for each in given:
        name, equals, folder = each.partition("=")
        path = Path(folder if equals else each)
        if (equals and not (name and folder)) or not each:
            raise UserError(f"--adapter {each}: give NAME=DIR, as in --adapter mine=runs/train-lora")
        several = {name if equals else _called(path): path}
        if (path / STUDY).is_file():
            several = _of_study(path, model, f"{name}-" if equals else "")
        for called, own in several.items():
            if called in found:
                raise UserError(f"--adapter {each}: {called!r} is the name of {found[called]} already; give it another, as NAME=DIR")
            found[called] = own
    return found


def _of_study(study: Path, model: str, before: str) -> dict[str, Path]:
    """What a study tuned on the model, by row, and by seed where there are several."""
    cells = [(read(path.parent / CELL), path) for path in sorted(study.glob("cells/*/adapter"))]
    tuned = [(str(cell.get("row")), cell.get("seed"), path) for cell, path in cells if cell.get("model") == model]
    if not tuned:
        raise UserError(f"--adapter {study}: this study has tuned nothing on {model} yet; give the --model that it tuned")
    seeds = Counter(row for row, _, _ in tuned)
    return {f"{before}{row}" + (f"-{seed}" if seeds[row] > 1 else ""): path for row, seed, path in tuned}


def _called(folder: Path) -> str:
    """A run folder's own name, also where its `adapter/` was given."""
    path = folder.resolve()
    return path.parent.name if path.name == "adapter" else path.name


@dataclass(frozen=True, slots=True)
class MendFlags(LiveFlags):
    """A model that mends: answers are as long as the functions are."""

    max_new_tokens: Annotated[int, typer.Option(help="The longest answer, in tokens.")] = 512
    temperature: Annotated[float, typer.Option(help="Of the first round, 0 is greedy; later ones are drawn at 0.4 to 1 at least.")] = 0.0


@dataclass(frozen=True, slots=True)
class AnswerFlags(ModelFlags):
    """What answers a benchmark, and how it is asked; each field is a flag."""

    engines: ClassVar[tuple[str, ...]] = ("own", "openai")
    endpoint: Annotated[
        Endpoint | None, typer.Option(help="What the server is asked for. Default: chat for the prompt style chat, completions for others.")
    ] = None
    concurrency: Annotated[int | None, typer.Option(min=1, help="Requests to the server at once, 8 unless given.")] = None
    n: Annotated[int, typer.Option("-n", "--n", help="Samples per problem.")] = 1
    batch_size: Annotated[int, typer.Option(help="Answers the own engine writes at once: more is faster and takes more memory.")] = 32
    few_shot: Annotated[int, typer.Option(min=0, help="Worked examples before each prompt.")] = 0
    data: Annotated[Path | None, typer.Option(help="A local copy of the named benchmark's file.")] = None
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first so many problems.")] = None

    def require_consistent(self) -> None:
        OpenFlags.require_consistent(self)
        if self.engine not in self.engines:
            raise UserError(
                "--engine vllm is for serve, chat and mend; here start `vllm serve`, then --engine openai --base-url http://localhost:8000/v1"
            )
