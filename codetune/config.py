"""Recipes: the typed, checked form of the YAML files that say what to run.

`load_recipe(path, kind, overrides)` reads one; every fault in it is reported at once, in one line each, with the nearest valid name.
A recipe is plain data: `recipe.model_dump(mode="json")` is what a run folder keeps and what its key is the hash of.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from codetune.errors import UserError, nearest

Style = Literal["instruction", "alpaca", "docstring", "chat", "completion", "austin-0shot", "incoder"]
Precision = Literal["fp32", "bf16"]
Packing = Literal["exact", "padded", "concatenated"]
LossOn = Literal["completion", "assistant", "all"]


class Config(BaseModel):
    """Base of all recipe sections: unknown keys are mistakes, values do not change after loading."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class FullConfig(Config):
    """Full fine-tuning: every weight of the model is trained."""

    name: Literal["full"] = "full"
    learning_rate: float = Field(5e-4, gt=0, description="peak; about a tenth of LoRA's for models of 100M and up")
    label: str = Field("", description="the row's name in reports; default: the method's")


class LoraConfig(Config):
    """LoRA (Hu et al. 2021) on every linear layer but the LM head."""

    name: Literal["lora"] = "lora"
    learning_rate: float = Field(2e-3, gt=0)
    lora_rank: int = Field(16, gt=0)
    lora_alpha: float = Field(32, gt=0, description="scale is lora_alpha / lora_rank; twice the rank is usual")
    lora_dropout: float = Field(0.0, ge=0, lt=1)
    target_modules: Literal["all-linear"] | tuple[str, ...] = Field("all-linear", description="or names of linear layers")
    label: str = ""


class PrefixTuningConfig(Config):
    """Prefix-tuning (Li & Liang 2021): trained keys and values before the text, in every layer."""

    name: Literal["prefix_tuning"] = "prefix_tuning"
    learning_rate: float = Field(1e-2, gt=0)
    num_virtual_tokens: int = Field(20, gt=0)
    init: Literal["text", "zeros"] = Field("text", description="text: the keys and values of a real prompt's first tokens")
    label: str = ""


class PromptTuningConfig(Config):
    """Prompt-tuning (Lester et al. 2021): trained embeddings before the text."""

    name: Literal["prompt_tuning"] = "prompt_tuning"
    learning_rate: float = Field(1e-2, gt=0)
    num_virtual_tokens: int = Field(20, gt=0)
    init: Literal["text", "vocabulary"] = Field("text", description="text: the embeddings of a real prompt's first tokens")
    label: str = ""


MethodConfig = Annotated[FullConfig | LoraConfig | PrefixTuningConfig | PromptTuningConfig, Field(discriminator="name")]
METHOD_NAMES = ("full", "lora", "prefix_tuning", "prompt_tuning")


def _named(value: Any) -> Any:
    return {"name": value} if isinstance(value, str) else value


def listed(value: Any) -> Any:
    return value if isinstance(value, list | tuple) else [value]


def _seeds(value: Any) -> Any:
    """`seeds: 3` means the training seeds 0, 1 and 2."""
    return list(range(value)) if isinstance(value, int) and not isinstance(value, bool) else value


class InfillingConfig(Config):
    """Plain code turned into fill-in-the-middle (Bavarian et al. 2022), at a rate."""

    rate: float = Field(0.0, ge=0, le=1, description="share of plain code documents; pairs and conversations stay as they are")
    spm_share: float = Field(0.5, ge=0, le=1, description="of these, how many are written suffix first (SPM); the others prefix first")
    tokens: Literal["auto"] | tuple[str, str, str] = Field(
        "auto", description="the marks of prefix, suffix and middle; auto: those of the model's tokenizer"
    )


class DecontaminateConfig(Config):
    """Training data that overlaps a benchmark is left out, and counted."""

    against: Literal["auto"] | tuple[str, ...] = Field(
        "auto", description="benchmarks by name, in a study besides its own; auto: those of the study, else all that are found"
    )
    run_words: int = Field(13, ge=5, description="so many words in a row, in common, are an overlap (GPT-3's rule; Brown et al. 2020)")
    min_share: float = Field(0.1, ge=0, le=1, description="of a problem's text, code or tests, in such runs; fewer are set phrases")
    drop: bool = Field(True, description="leave overlapping training documents out; false: only count them")
    max_overlap: float = Field(0.0, ge=0, le=1, description="share of a benchmark's problems that training data may overlap")
    publish_anyway: bool = Field(False, description="show scores beyond max_overlap, marked, instead of striking them out")


class DataConfig(Config):
    """What is tuned on, and how it is written as text."""

    source: str = Field(description="a name of `codetune data list`, a file of your own, or a folder that `codetune data prepare` wrote")
    split: str = "train"
    path: Path | None = Field(None, description="a local copy of a named source; default: CODETUNE_DATA/<source>")
    prompt_style: Style = "instruction"
    loss_on: LossOn = Field(
        "completion", description="which tokens count for the loss; assistant: every assistant turn of a conversation, completion: its last"
    )
    infilling: InfillingConfig = Field(InfillingConfig(), description="plain code as fill-in-the-middle")
    validation_examples: int = Field(200, ge=0, description="taken off the end where the source has no validation split")
    max_examples: int | None = Field(None, gt=0)


class TrainConfig(Config):
    """One training run. Budgets are in tokens, never in seconds, so that every machine gets the same model."""

    train_tokens: int = Field(300_000, gt=0, description="text tokens seen in all; virtual tokens and padding do not count")
    batch_tokens: int = Field(4096, gt=0, description="text tokens per optimiser step, rounded to whole rows")
    micro_batch_size: int = Field(4, gt=0, description="rows per forward pass; changes memory and speed, not the result")
    max_seq_len: int = Field(512, gt=1, description="text tokens per packed row; longer examples are dropped and counted")
    packing: Packing = Field("exact", description="concatenated lets documents see each other, as published work did")
    optimizer: Literal["adamw", "adam", "muon"] = "adamw"
    weight_decay: float = Field(0.0, ge=0, description="never applied to norms, biases and soft prompts")
    beta2: float = Field(0.98, gt=0, lt=1)
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    warmup_share: float = Field(0.05, ge=0, lt=1, description="share of all steps")
    final_lr_share: float = Field(0.05, ge=0, le=1, description="the last step's share of the peak (cosine and linear)")
    max_grad_norm: float = Field(1.0, gt=0)
    precision: Precision = Field("fp32", description="bf16: products in bf16, trained weights and optimiser in fp32")
    validations: int = Field(5, ge=0, description="how often the validation loss is measured; 0: never")
    keep: Literal["best", "last"] = Field("best", description="which weights are kept, by validation loss")
    patience: int = Field(0, ge=0, description="stop after so many validations without a better one; 0: never")
    checkpoint_every_s: float = Field(60.0, gt=0)


class DecodingConfig(Config):
    """How completions are written. Temperature 0 is greedy; 0.2 with top_p 0.95 is the published sampling."""

    temperature: float = Field(0.0, ge=0)
    top_p: float = Field(1.0, gt=0, le=1)
    n: int = Field(1, gt=0, description="samples per problem")
    max_new_tokens: int = Field(256, gt=0)
    batch_size: int = Field(32, gt=0)
    seed: int = 0


class Architecture(Config):
    """A Llama-architecture model from scratch (what `recipes/base-model.yaml` pre-trains)."""

    hidden_size: int = 256
    num_layers: int = 8
    num_heads: int = 4
    intermediate_size: int = 704
    max_positions: int = 1024
    vocab_size: int = 8192


class TrainRecipe(Config):
    """One model, one data set, one method, one seed: `codetune train`."""

    name: str
    model: str = Field(description="codetune-base (ships with codetune), a folder, or a hub id")
    architecture: Architecture | None = Field(None, description="start from random weights of this shape; `model` then names the tokenizer")
    data: DataConfig
    method: Annotated[MethodConfig, BeforeValidator(_named)] = FullConfig()
    train: TrainConfig = TrainConfig()
    decontaminate: DecontaminateConfig | None = Field(None, description="training data that overlaps benchmarks; default: not looked for")
    seed: int = 0
    out: Path | None = Field(None, description="default: runs/<name>")


class StudyRecipe(Config):
    """Methods x models x data x seeds, compared fairly: `codetune study run`."""

    name: str
    models: Annotated[tuple[str, ...], BeforeValidator(listed)] = Field(min_length=1)
    data: Annotated[tuple[DataConfig, ...], BeforeValidator(listed)] = Field(min_length=1)
    methods: Annotated[tuple[Annotated[MethodConfig, BeforeValidator(_named)], ...], BeforeValidator(listed)] = ()
    few_shot: int = Field(0, ge=0, description="examples in the prompt of the row `base few-shot`; 0: no such row")
    seeds: Annotated[tuple[int, ...], BeforeValidator(_seeds)] = Field((0,), min_length=1)
    train: TrainConfig = TrainConfig()
    decoding: DecodingConfig = DecodingConfig()
    benchmarks: Annotated[tuple[str, ...], BeforeValidator(listed)] = Field(min_length=1)
    decontaminate: DecontaminateConfig = Field(DecontaminateConfig(), description="training data that overlaps the benchmarks")
    max_problems: int | None = Field(None, gt=0, description="only the first so many problems of each benchmark")
    cells_at_once: int = Field(1, gt=0, description="cells that run side by side, the cores shared out evenly; 1 on a GPU")
    out: Path | None = Field(None, description="default: runs/<name>")

    @property
    def folder(self) -> Path:
        return self.out or Path("runs") / self.name


Recipe = TypeVar("Recipe", bound=Config)


def load_recipe(path: Path, kind: type[Recipe], overrides: Sequence[str] = ()) -> Recipe:
    """The recipe in a YAML file, with `a.b=value` overrides. Raises UserError that lists every fault."""
    return validate(load_tree(path, overrides), kind, str(path))


def load_tree(path: Path, overrides: Sequence[str] = ()) -> dict[str, Any]:
    """The keys of a recipe file, with overrides, not checked yet."""
    try:
        tree = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"no recipe at {path}: give the path of a YAML file (shipped ones: {', '.join(shipped_recipes())})") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read {path}: {error}") from None
    except yaml.YAMLError as error:
        raise UserError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(tree, dict):
        raise UserError(f"{path} holds a {type(tree).__name__}; a recipe is a mapping of keys such as `name:` and `data:`")
    for override in overrides:
        _apply(tree, override)
    return tree


def validate(tree: dict[str, Any], kind: type[Recipe], where: str) -> Recipe:
    """A recipe from plain data. Raises UserError naming every fault, not only the first."""
    try:
        return kind.model_validate(tree)
    except ValidationError as error:
        faults = [_fault(item, kind) for item in error.errors()]
        raise UserError(f"{where}: " + "; ".join(faults)) from None


def shipped_recipes() -> dict[str, Path]:
    """Recipes that come with codetune, by file name: in the installed package, or beside it in a checkout."""
    package = Path(__file__).parent
    for folder in (package / "recipes", package.parent / "recipes"):
        if folder.is_dir():
            return {path.name: path for path in sorted(folder.rglob("*.yaml"))}
    return {}


def is_recipe(path: Path) -> bool:
    """Whether a path stands for a recipe, by its suffix."""
    return path.suffix in (".yaml", ".yml")


def recipe_path(given: Path) -> Path:
    """The file as given, or else the shipped recipe of that name."""
    return given if given.exists() else shipped_recipes().get(given.name, given)


def content_hash(data: Any) -> str:
    """A short stable hash of plain data (12 hex digits), for keys of runs and caches."""
    text = json.dumps(data, sort_keys=True, default=str, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _apply(tree: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise UserError(f"--set {override!r}: give it as key=value, for example --set train.batch_tokens=8192")
    node: Any = tree
    *parents, last = key.split(".")
    for parent in parents:
        if isinstance(node, list) and parent.isdigit() and int(parent) < len(node):
            node = node[int(parent)]
            continue
        if not isinstance(node, dict):
            raise UserError(f"--set {override!r}: {parent!r} is not a section of the recipe")
        node = node.setdefault(parent, {})
    if not isinstance(node, dict):
        raise UserError(f"--set {override!r}: there is no section to set {last!r} in")
    try:
        node[last] = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise UserError(f"--set {override!r} is not valid YAML: {' '.join(str(error).split())}") from None


def _fault(item: Any, kind: type[BaseModel]) -> str:
    """One of pydantic's faults in a recipe's words, with the nearest valid name where a name is wrong."""
    where, given = _key(item["loc"]), item["input"]
    match item["type"]:
        case "extra_forbidden":
            return f"unknown key {where!r} ({nearest(str(item['loc'][-1]), _fields_at(kind, item['loc'][:-1]))})"
        case "missing":
            return f"missing key {where!r}"
        case "union_tag_invalid" | "union_tag_not_found":
            tag = str(item["ctx"].get("tag", ""))
            return f"{where}: no method {tag!r} ({nearest(tag, METHOD_NAMES)})"
        case "literal_error":
            valid = re.findall(r"'([^']+)'", item["ctx"]["expected"])
            return f"{where}: no {given!r} ({nearest(str(given), valid)})"
        case "model_type" | "model_attributes_type":
            return f"{where}: must be a section of keys, given {given!r}"
    return f"{where}: {str(item['msg']).replace('Input should be', 'must be')}, given {given!r}"


def _key(location: Sequence[Any]) -> str:
    """A location as it is written in `--set`: without the marks that pydantic puts in for unions."""
    *sections, last = (str(part) for part in location if "[" not in str(part))
    return ".".join([*(part for part in sections if part not in METHOD_NAMES), last])


def _fields_at(kind: type[BaseModel], location: Iterable[Any]) -> list[str]:
    """The valid keys of the section at a location of a pydantic error."""
    sections: list[type[BaseModel]] = [kind]
    for part in location:
        if isinstance(part, int):
            continue
        found = [model for section in sections for model in _models_of(section, part)]
        sections = found or [model for model in sections if getattr(model.model_fields.get("name"), "default", None) == part] or sections
    return sorted({name for section in sections for name in section.model_fields})


def _models_of(section: type[BaseModel], name: str) -> list[type[BaseModel]]:
    def walk(annotation: Any) -> Iterable[type[BaseModel]]:
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            yield annotation
        for argument in getattr(annotation, "__args__", ()):
            yield from walk(argument)

    field = section.model_fields.get(name)
    return list(walk(field.annotation)) if field else []
