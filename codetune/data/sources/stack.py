"""The Stack (Kocetkov et al. 2022), The Stack v2 (Lozhkov et al. 2024) and StarCoder's data (Li et al. 2023): files of code by language.

Rows: https://huggingface.co/datasets/bigcode/the-stack-dedup, https://huggingface.co/datasets/bigcode/the-stack-v2-dedup,
https://huggingface.co/datasets/bigcode/the-stack-v2-train-smol-ids (a repository with its `files`) and
https://huggingface.co/datasets/bigcode/starcoderdata. What their owners took back is left out of each release; a column `opted_out`
of one's own goes into the facts.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from codetune.data.files import Row, short
from codetune.data.languages import canonical
from codetune.data.read import Skipped
from codetune.data.sources.source import Hub, Source, name_of, number
from codetune.data_recipe import SourceConfig
from codetune.records import Document

# StarCoder's data begins some files with these, each value up to the next mark or line end.
_MARKS = re.compile(r"\A(?:<(?:reponame|filename|gh_stars)>[^<\n]*)+\n?")
NO_CONTENT = (
    "The Stack v2 has no contents, only their ids ('blob_id'): fetch them from Software Heritage as its card says "
    "(https://huggingface.co/datasets/bigcode/the-stack-v2), put each into its row as 'content', and give the files as path"
)


@dataclass(frozen=True, slots=True)
class _Columns:
    """What a data set calls the same things."""

    repository: str
    path: str
    stars: str
    licences: str
    language: str
    id: str


_V1 = _Columns("max_stars_repo_name", "max_stars_repo_path", "max_stars_count", "max_stars_repo_licenses", "lang", "hexsha")
_V2 = _Columns("repo_name", "path", "star_events_count", "detected_licenses", "language", "blob_id")
_STARCODER = _Columns("max_stars_repo_name", "max_stars_repo_path", "max_stars_count", "", "", "id")


def stack(row: Row, config: SourceConfig) -> Iterable[Document | Skipped]:
    return [_file(row, config, _V1)]


def starcoder(row: Row, config: SourceConfig) -> Iterable[Document | Skipped]:
    """Rows do not say their language: their folder does, for which `config.languages` is narrowed to that one."""
    return [_file(row, config, _STARCODER)]


def stack_v2(row: Row, config: SourceConfig) -> Iterable[Document | Skipped]:
    """A file, or a repository with a list of its files."""
    files = row.values.get("files")
    if files is None:
        return [_file(row, config, _V2)]
    if not isinstance(files, list) or not all(isinstance(each, dict) for each in files):
        raise row.error(f"'files' must be a list of files, got {short(files)}")
    rows = [Row(f"{row.where}, file {place}", {**row.values, **each}, row.number) for place, each in enumerate(files, 1)]
    size = sum(max(0, each.whole_number("length_bytes", 0)) for each in rows)
    return [_file(each, config, _V2, {"repository_bytes": size} if size else {}) for each in rows]


def _file(row: Row, config: SourceConfig, columns: _Columns, facts: dict[str, Any] | None = None) -> Document | Skipped:
    if columns is _V2 and row.values.get("content") is None:
        raise row.error(NO_CONTENT)
    asked = [canonical(each) for each in config.languages]
    stated = canonical(row.text(columns.language, "")) if columns.language else asked[0] if len(asked) == 1 else ""
    if stated not in asked and (stated or columns.language):
        return Skipped(row.where, "in another language")
    text = row.text("content")
    repository, path = row.text(columns.repository, ""), row.text(columns.path, "")
    stars = _stars(row, columns.stars)
    given: dict[str, Any] = {
        "stars": stars, "path": path or None,
        "opted_out": row.values.get("opted_out"), "generated": row.values.get("is_generated"), "vendored": row.values.get("is_vendor"),
        "main_language": canonical(row.text("gha_language", "")) or None, **(facts or {}),
    }  # fmt: skip
    return Document(
        id=name_of(row, columns.id) if row.values.get(columns.id) is not None else "",
        text=_MARKS.sub("", text) if columns is _STARCODER else text,
        language=stated,
        origin="/".join(part for part in (repository, path) if part),
        licence=" OR ".join(row.texts(columns.licences)) if columns.licences else "",
        group=repository,
        rank=float(stars or 0),
        facts={key: value for key, value in given.items() if value is not None},
    )


def _stars(row: Row, key: str) -> int | None:
    """None where they are not known; tables that have gaps hold numbers as floats."""
    stars = 0.0 if row.values.get(key) is None else number(row, key)
    return int(stars) if row.values.get(key) is not None and math.isfinite(stars) else None


_LANGUAGES = frozenset({"languages"})
SOURCE = Source(
    "the-stack",
    stack,
    "permissively licensed files of GitHub in 358 languages",
    wants=(("content", "max_stars_repo_name", "hexsha"),),
    schema="https://huggingface.co/datasets/bigcode/the-stack-dedup",
    files={"train": ("the-stack",)},
    hub=Hub("bigcode/the-stack-dedup", folders="data/{language}"),
    settings=_LANGUAGES,
    columns=(
        "hexsha", "size", "ext", "lang", "content", "max_stars_repo_path", "max_stars_repo_name", "max_stars_repo_licenses",
        "max_stars_count", "opted_out",
    ),
)  # fmt: skip
V2 = Source(
    "the-stack-v2",
    stack_v2,
    "files of Software Heritage in over 600 languages, once their contents are fetched",
    wants=(("blob_id", "repo_name"), ("repo_name", "files")),
    schema="https://huggingface.co/datasets/bigcode/the-stack-v2-dedup",
    files={"train": ("the-stack-v2",)},
    settings=_LANGUAGES,
    elsewhere=NO_CONTENT,
)
STARCODER = Source(
    "starcoderdata",
    starcoder,
    "The Stack cleaned and decontaminated, 86 languages: what StarCoder was trained on",
    wants=(("content", "max_stars_repo_name"),),
    schema="https://huggingface.co/datasets/bigcode/starcoderdata",
    files={"train": ("starcoderdata",)},
    hub=Hub("bigcode/starcoderdata", folders="{language}"),
    settings=_LANGUAGES,
)
