"""Data recipes: the typed form of the YAML files that `codetune data prepare` takes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from codetune.config import Config, DecontaminateConfig, InfillingConfig, LossOn, Style, listed


class SourceConfig(Config):
    """Where documents come from. A key that a source has no use for is refused."""

    source: str = Field(description="a name of `codetune data list`, or a file or folder of your own")
    path: Path | None = Field(None, description="its file or folder; default: the recipe's path, CODETUNE_DATA/<source>, or the hub")
    split: str = Field("", description="only this split of the source; default: all that are meant to train on")
    weight: float = Field(1.0, gt=0, description="how often each document is taken: 2 is twice, 0.5 every other one, chosen by hash")
    max_documents: int | None = Field(None, gt=0, description="only the first so many")
    licences: tuple[str, ...] = Field((), description="only documents under one of these (SPDX names); empty: any")
    languages: tuple[str, ...] = Field(("python",), description="of plain code; functions are cut out of Python alone")
    make: Literal["files", "pairs", "both"] = Field("both", description="of a code base: files, documented functions as pairs, or both")
    min_score: float = Field(0.5, ge=0, le=1, description="of mined CoNaLa pairs, the least probability that a pair is right")
    max_solutions: int = Field(1, gt=0, description="solutions per problem, where a source has several")


class FilterConfig(Config):
    """What is left out and what is masked, rule by rule. Null or false switches a rule off. Defaults are as published.

    What was published for files is asked of plain code and of pairs that were cut out of files (`facts` name the file), never of pairs
    that people wrote: their one-liners and long examples are no sign of bad data.
    """

    empty: bool = Field(True, description="nothing to learn from")
    opted_out: bool = Field(True, description="the author asked not to be trained on (The Stack)")
    licences: tuple[str, ...] = Field((), description="only under one of these (SPDX names); empty: any; unknown is then none of them")
    min_stars: int | None = Field(None, ge=0, description="of the repository, where known (CodeGeeX: 1)")
    min_repository_bytes: int | None = Field(None, ge=0, description="where known")
    max_repository_bytes: int | None = Field(None, ge=0, description="where known (CodeGeeX: 10_000_000)")
    main_language: bool = Field(False, description="the file's language is not its repository's main one, where known")
    vendored: bool = Field(True, description="copied in from elsewhere, by the source's own word")
    generated: bool = Field(True, description="made by a program: by the source's own word, or by a marker in a file's head (Codex)")
    min_file_bytes: int | None = Field(1_000, ge=0, description="of plain code that is a file (CodeGeeX: 1 KB)")
    max_file_bytes: int | None = Field(100_000, ge=0, description="of plain code (CodeGeeX: 100 KB; Codex: 1 MB)")
    max_line_chars: int | None = Field(1_000, gt=0, description="longest line (Codex)")
    max_mean_line_chars: float | None = Field(100, gt=0, description="mean line length (Codex)")
    min_alphanumeric_share: float | None = Field(0.25, ge=0, le=1, description="letters and digits among all characters (CodeParrot)")
    min_alphabetic_share: float | None = Field(0.25, ge=0, le=1, description="letters among all characters (StarCoder; CodeGeeX: 0.4)")
    xml: bool = Field(True, description="XML by its first line, whatever the file is called (StarCoder)")
    instructions: Literal["mined", "all"] | None = Field(
        "mined", description="which must be natural language (CodeXGLUE): docstrings of pairs cut out of files, or every instruction"
    )
    min_instruction_words: int | None = Field(3, ge=0, description="of such a text (CodeXGLUE)")
    max_instruction_words: int | None = Field(256, gt=0, description="of such a text (CodeXGLUE)")
    english: bool = Field(True, description="false: instructions may be in any language")
    python_2: bool = Field(True, description="Python 2 that Python 3 does not read")
    parses: Literal["known", "all"] | None = Field(
        "known",
        description="Python by ast; known: files, functions, continuations, what has tests, and answers that open as Python does; "
        "all: every answer whose language is python, prose among them",
    )
    conversations_parse: bool = Field(False, description="fenced Python of assistants, too")
    trivial: bool = Field(True, description="functions that do nothing: pass, ..., a docstring, NotImplementedError, a plain getter")
    min_words: int | None = Field(None, ge=0, description="of all its text: runs of letters, digits and underscores")
    max_words: int | None = Field(None, gt=0, description="of all its text")
    mask_emails: bool = Field(True, description="as <EMAIL> (StarCoder)")
    mask_ip_addresses: bool = Field(True, description="public ones, as <IP_ADDRESS> (StarCoder)")
    mask_keys: bool = Field(True, description="keys, tokens and passwords, as <KEY> (StarCoder, detect-secrets)")
    format: Literal["none", "ruff"] = Field("none", description="ruff: Python laid out anew, by PEP 8 (CodeGeeX)")


class DuplicatesConfig(Config):
    """Exact and near duplicates; of each cluster the member of the highest rank stays."""

    exact: bool = Field(True, description="texts that are equal, white space aside")
    near: bool = Field(True, description="texts whose sets of word 5-grams are alike")
    threshold: float = Field(0.7, gt=0, lt=1, description="Jaccard similarity from which on two texts are near duplicates (The Stack: 0.7)")
    shingle_words: int = Field(5, gt=0, description="length of the runs of words that are compared")


class SplitConfig(Config):
    """Shares of the documents, by group; a source's own validation and test splits stay what they are."""

    validation: float = Field(0.02, ge=0, lt=1, description="share of the documents")
    test: float = Field(0.0, ge=0, lt=1, description="share of the documents")
    by: Literal["auto", "group", "document"] = Field(
        "auto", description="what is kept together: repository, question or family; auto: the document where there are fewer than 20 groups"
    )


class TokensConfig(Config):
    """Tokenised and packed rows, made ahead of training. `codetune train` makes them by itself where this is absent."""

    model: str = Field(description="whose tokenizer: codetune-base, a folder, or a hub id")
    prompt_style: Style = "instruction"
    loss_on: LossOn = Field("completion", description="which tokens count for the loss, as in a training recipe")
    max_seq_len: int = Field(512, gt=1, description="tokens per packed row")
    infilling: InfillingConfig = Field(InfillingConfig(), description="plain code as fill-in-the-middle")


def _sources(value: Any) -> Any:
    """`sources: [conala, mbpp]` names them alone."""
    return [{"source": one} if isinstance(one, str) else one for one in listed(value)]


class DataRecipe(Config):
    """Sources to a cleaned, deduplicated, decontaminated, split data folder: `codetune data prepare`."""

    name: str
    path: Path | None = Field(None, description="file or folder of sources that name none")
    sources: Annotated[tuple[SourceConfig, ...], BeforeValidator(_sources)] = Field(
        min_length=1, description="one or several; a name alone has its defaults"
    )
    filters: FilterConfig = Field(FilterConfig(), description="what is left out, and what is masked")
    duplicates: DuplicatesConfig = Field(DuplicatesConfig(), description="exact and near ones")
    decontaminate: DecontaminateConfig = Field(DecontaminateConfig(), description="documents that overlap a benchmark")
    split: SplitConfig = Field(SplitConfig(), description="what is held out")
    tokens: TokensConfig | None = Field(None, description="tokenise and pack ahead of training")
    seed: int = Field(0, description="of the split, and of holes in code")
    documents_per_shard: int = Field(10_000, gt=0, description="what a process works on at a time, and a file holds")
    out: Path | None = Field(None, description="default: data/<name>")

    @property
    def folder(self) -> Path:
        return self.out or Path("data") / self.name
