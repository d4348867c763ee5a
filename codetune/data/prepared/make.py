"""From a data recipe to a prepared folder; a killed run goes on from the parts that are done."""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path

from codetune.config import content_hash
from codetune.data.cleaning.cleaner import Cleaner
from codetune.data.codebase.code import CodeChunk
from codetune.data.overlap.decontaminate import Decontaminator
from codetune.data.overlap.training_overlap import benchmarks_against
from codetune.data.prepared.account import Account
from codetune.data.prepared.card import write_card
from codetune.data.prepared.clean import ACCOUNT, OVERLAPS, Done, Part, Rules, clean_part
from codetune.data.prepared.read import CARD, FORMAT, MANIFEST, OVERLAP_FILE
from codetune.data.prepared.settle import settle
from codetune.data.prepared.write import write_splits
from codetune.data.shards import over_shards
from codetune.data.sources import Opened, OpenedCode, SourceChunk, open_source
from codetune.data_recipe import DataRecipe
from codetune.errors import UserError
from codetune.records import Json
from codetune.runs import locked, read_json, write_json

FORMAT_VERSION = 1


@dataclass(frozen=True, slots=True)
class Stage:
    """How far a preparation is: what it does, and the share of that which is done, as far as it is known."""

    name: str
    share: float = 0.0


def prepare(recipe: DataRecipe, processes: int = 1, strict: bool = False, report: Callable[[Stage], None] = lambda stage: None) -> Json:
    """The manifest of the prepared folder, which is made where it is not there yet; the same bytes for any number of processes.

    `strict` stops at the first bad row. Raises UserError for a recipe that cannot work, and for a folder of another recipe.
    """
    folder = recipe.folder
    opened = [open_source(source, recipe.path) for source in recipe.sources]
    against = benchmarks_against(recipe.decontaminate)
    key = content_hash([FORMAT_VERSION, _determining(recipe), [one.identity for one in opened], [one.sha256 for one in against]])
    with locked(folder):
        if (folder / MANIFEST).exists():
            return _made_before(folder, recipe, key)
        work = _work_folder(folder, key)
        rules = Rules(recipe, Cleaner(recipe.filters), Decontaminator.of(against, recipe.decontaminate), strict)
        parts = _cleaned(opened, recipe, rules, work, processes, report)
        manifest = _finish(recipe, opened, parts, {one.name: one.sha256 for one in against}, work, report) | {"key": key}
        write_json(folder / MANIFEST, manifest)
        shutil.rmtree(work.parent)
        return manifest


def _determining(recipe: DataRecipe) -> Json:
    """A recipe without what does not change the documents."""
    return {**recipe.model_dump(mode="json"), "out": None, "tokens": None}


def _made_before(folder: Path, recipe: DataRecipe, key: str) -> Json:
    manifest = dict(read_json(folder / MANIFEST))
    if manifest.get("key") == key:
        return manifest
    before, now = manifest.get("recipe", {}), _determining(recipe)
    differing = sorted(name for name in now if before.get(name) != now[name]) or ["its sources or benchmarks"]
    differ = f"{', '.join(differing)} differ{'s' if len(differing) == 1 else ''}"
    raise UserError(f"{folder} holds data of another recipe ({differ}): give another folder as --set out=FOLDER, or remove it")


def _work_folder(folder: Path, key: str) -> Path:
    """Where finished parts wait; those of other recipes or other sources are of no use any more."""
    work = folder / ".work" / key
    for other in work.parent.glob("*"):
        if other != work:
            shutil.rmtree(other)
    for torn in work.glob(".*.tmp"):
        shutil.rmtree(torn)
    work.mkdir(parents=True, exist_ok=True)
    return work


def _cleaned(
    opened: Sequence[Opened | OpenedCode], recipe: DataRecipe, rules: Rules, work: Path, processes: int, report: Callable[[Stage], None]
) -> list[Done]:
    """All parts in order; of a source with `max_documents` as many as it takes."""
    parts: list[Done] = []
    seen = [0] * len(opened)
    wanted = [math.inf if source.max_documents is None else source.max_documents for source in recipe.sources]

    def planned() -> Iterator[Part]:
        for number, one in enumerate(opened):
            chunks: Iterator[SourceChunk | CodeChunk] = one.chunks(recipe.documents_per_shard)
            for index, chunk in enumerate(chunks):
                if seen[number] >= wanted[number]:
                    break
                yield Part(number, chunk, work / f"part-{number:03}-{index:06}")

    with contextlib.closing(over_shards(partial(clean_part, rules), planned(), processes)) as done:
        for part in done:
            if seen[part.source] < wanted[part.source]:  # else it was begun before that was known
                parts.append(part)
            seen[part.source] += part.documents
            report(Stage("read, clean, compare with benchmarks", (part.source + part.share) / len(opened)))
    if not parts:
        raise UserError(f"{', '.join(source.source for source in recipe.sources)}: there is nothing in it")
    return parts


def _finish(
    recipe: DataRecipe,
    opened: Sequence[Opened | OpenedCode],
    parts: Sequence[Done],
    against: dict[str, str],
    work: Path,
    report: Callable[[Stage], None],
) -> Json:
    """Everything after the parts: who stays, files, overlap, manifest without its key, card."""
    report(Stage("find duplicates"))
    accounts = [Account() for _ in opened]
    folders = [part.folder for part in parts]
    for part in parts:
        accounts[part.source].add(Account.of(read_json(part.folder / ACCOUNT)))
    settled = settle(folders, [part.source for part in parts], recipe, accounts)
    report(Stage("write"))
    writing = work / "files"
    shutil.rmtree(writing, ignore_errors=True)
    writing.mkdir()
    splits = write_splits(settled, writing, recipe.documents_per_shard, accounts)
    if not splits["train"]["documents"]:
        raise UserError(f"nothing is left to train on: {_why(accounts)}")
    overlapping = _write_overlaps(folders, writing / OVERLAP_FILE)
    listed = [{"source": one.name, "licence": one.licence, **account.to_json()} for one, account in zip(opened, accounts, strict=True)]
    hashes = json.dumps([file["sha256"] for split in splits.values() for file in split["files"]])
    manifest = {
        "format": FORMAT, "format_version": FORMAT_VERSION, "name": recipe.name,
        "version": hashlib.sha256(hashes.encode()).hexdigest()[:12], "splits": splits, "sources": listed,
        "decontamination": {
            "against": against, "overlapping": overlapping,
            **recipe.decontaminate.model_dump(include={"run_words", "min_share", "drop"}),
        },
        "recipe": _determining(recipe), "versions": {name: version(name) for name in ("codetune", "pyarrow", "numpy")},
    }  # fmt: skip
    (writing / CARD).write_text(write_card(manifest), encoding="utf-8")
    for file in sorted(writing.iterdir()):
        os.replace(file, recipe.folder / file.name)
    return manifest


def _write_overlaps(folders: Sequence[Path], path: Path) -> dict[str, int]:
    """Every overlap that was found, row by row; returns how many documents overlap each benchmark."""
    documents: dict[str, set[tuple[str, str]]] = {}
    with path.open("w", encoding="utf-8") as file:
        for folder in folders:
            for row in read_json(folder / OVERLAPS):
                documents.setdefault(row["benchmark"], set()).add((row["source"], row["document"]))
                file.write(json.dumps(row, ensure_ascii=False) + "\n")
    return {name: len(found) for name, found in sorted(documents.items())}


def _why(accounts: Sequence[Account]) -> str:
    """The reasons that took most, of all sources, each with an example."""
    whole = Account()
    for account in accounts:
        whole.add(account)
    said = []
    for reason, count in whole.left_out.most_common(3):
        first = whole.examples[reason][0]
        said.append(f"{count} {reason} ({first['where']}{': ' * bool(first['detail'])}{first['detail']})")
    return f"of {whole.rows} rows, {', '.join(said)}"
