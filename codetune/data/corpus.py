"""The pre-training corpus of the shipped base model: permissively licensed Python that is installed where this runs.

The standard library and every installed package whose metadata says MIT, BSD, Apache or PSF, as files, as (docstring, function)
pairs in codetune's prompt styles, and as small edits of their functions. A manifest fixes names, versions, licences and hashes;
documents that share 13 words with a benchmark are left out and counted.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.metadata
import random
import re
import sys
import sysconfig
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from codetune.data.cleaning.filters import generated_marker
from codetune.data.codebase.licences import metadata_licence
from codetune.data.docstrings import lines_without
from codetune.data.edits import edit_problem, mentions
from codetune.data.overlap.benchmark_index import BenchmarkIndex
from codetune.prompts.template import Template
from codetune.records import Problem

PERMISSIVE = re.compile(r"\b(MIT|BSD|Apache|PSF|Python Software Foundation|ISC)\b", re.IGNORECASE)
RESTRICTIVE = re.compile(r"\b(GPL|LGPL|AGPL|MPL|Mozilla|EPL|CC-BY|Proprietary|GNU)\b", re.IGNORECASE)
_TESTS = {"test", "tests", "testing"}
_COPIES = {"site-packages", "_vendor", "vendor", "externals", "pip", "ensurepip"}
_SKIPPED_FOLDERS = _TESTS | _COPIES | {"idlelib", "lib2to3", "turtledemo"}
_STYLES = ("instruction", "instruction", "instruction", "docstring", "alpaca", "completion")
_EDIT_STYLES = ("instruction", "instruction", "docstring", "alpaca")
MAX_FILE_BYTES = 100_000
MAX_FUNCTION_LINES = 40
MAX_EDIT_LINES = 20
HELD_OUT_ONE_IN = 200


@dataclass(frozen=True, slots=True)
class Package:
    """One source of files: an installed distribution, or the standard library."""

    name: str
    version: str
    licence: str
    files: tuple[Path, ...]


@dataclass(slots=True)
class Corpus:
    """Documents, and the account of what went in and what was left out.

    `functions` are the pairs whose function stands alone, asked for in other words: what most people ask a model for.
    `held_out` are the files and pairs of one file in 200, chosen by its hash; nothing else is made of these.
    """

    files: list[str] = field(default_factory=list)
    pairs: list[str] = field(default_factory=list)
    functions: list[str] = field(default_factory=list)
    edits: list[str] = field(default_factory=list)
    held_out: list[str] = field(default_factory=list)
    manifest: list[dict[str, object]] = field(default_factory=list)
    dropped: Counter[str] = field(default_factory=Counter)


def build_corpus(
    benchmarks: BenchmarkIndex, seed: int = 0, max_package_bytes: int = 6_000_000, packages: Iterable[Package] | None = None
) -> Corpus:
    """The corpus of these packages, by default all installed ones. At most `max_package_bytes` of files each, so that none dominates."""
    corpus, rng, seen = Corpus(), random.Random(seed), set[str]()
    for package in installed_packages() if packages is None else packages:
        digest, used, pairs_before = hashlib.sha256(), 0, len(corpus.pairs)
        paths = list(package.files)
        rng.shuffle(paths)
        for path in paths:
            text = _read(path, corpus.dropped)
            if text is None or not _fresh(text, seen, corpus.dropped):
                continue
            if where := benchmarks.overlap(text):
                corpus.dropped[f"file shares 13 words with {where}"] += 1
                continue
            functions, lines = parsed(text)
            if _is_held_out(text):
                corpus.held_out += [text, *function_pairs(functions, lines, rng)]
                continue
            for documents, made in (
                (corpus.pairs, function_pairs(functions, lines, rng)),
                (corpus.functions, function_pairs([node for node in functions if not is_method(node)], lines, rng)),
                (corpus.edits, function_edits(functions, lines, rng)),
            ):
                documents += [document for document in made if _fresh(document, seen, corpus.dropped)]
            if used < max_package_bytes:
                corpus.files.append(text)
                used += len(text)
            digest.update(text.encode())
        if used:
            corpus.manifest.append(
                {"name": package.name, "version": package.version, "licence": package.licence, "file_bytes": used,
                 "pairs": len(corpus.pairs) - pairs_before, "sha256": digest.hexdigest()}
            )
    for documents in (corpus.files, corpus.pairs, corpus.functions, corpus.edits, corpus.held_out):
        rng.shuffle(documents)
    return corpus


def installed_packages() -> list[Package]:
    """The standard library and all permissively licensed distributions, by name."""
    library = Path(sysconfig.get_paths()["stdlib"])
    files = tuple(sorted(path for path in library.rglob("*.py") if _wanted(path.relative_to(library))))
    packages = [Package("python-standard-library", sys.version.split()[0], "PSF-2.0", files)]
    for found in sorted(importlib.metadata.distributions(), key=lambda item: item.metadata["Name"].lower()):
        licence = metadata_licence(found.metadata)
        name = found.metadata["Name"]
        if name == "codetune" or not PERMISSIVE.search(licence) or RESTRICTIVE.search(licence):
            continue
        paths = sorted({Path(str(file.locate())) for file in found.files or () if file.suffix == ".py" and _wanted(Path(str(file)))})
        packages.append(Package(name, found.version, licence[:60], tuple(paths)))
    return packages


def parsed(text: str) -> tuple[list[ast.FunctionDef], list[str]]:
    """A file's functions, and the lines that the parser counts: splitlines() would also cut at form feeds."""
    return [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.FunctionDef)], text.split("\n")


def is_method(node: ast.FunctionDef) -> bool:
    return [argument.arg for argument in node.args.args][:1] in (["self"], ["cls"])


def function_pairs(functions: Iterable[ast.FunctionDef], lines: list[str], rng: random.Random) -> Iterator[str]:
    """(docstring, function) pairs, each in a prompt style drawn at random."""
    for node in functions:
        if problem := function_problem(node, lines, rng):
            yield Template(rng.choice(_STYLES)).render(problem).text


def function_edits(functions: list[ast.FunctionDef], lines: list[str], rng: random.Random) -> Iterator[str]:
    """An edit of each short function, documented or not. New names are those of other functions' arguments."""
    names = sorted({argument.arg for node in functions for argument in node.args.args} - {"self", "cls"})
    for node in functions:
        if (node.end_lineno or 0) - node.lineno < MAX_EDIT_LINES:
            source = _dedent(lines[node.lineno - 1 : node.end_lineno])
            if source and source.isascii() and (problem := edit_problem(source, names, rng)):
                yield Template(rng.choice(_EDIT_STYLES)).render(problem).text


def function_problem(node: ast.FunctionDef, lines: list[str], rng: random.Random) -> Problem | None:
    """The function without its docstring, asked for in the docstring's first paragraph; None where it is no good pair."""
    docstring = ast.get_docstring(node)
    if not docstring or len(node.body) < 2 or (node.end_lineno or 0) - node.lineno > MAX_FUNCTION_LINES:
        return None
    summary = " ".join(docstring.split("\n\n")[0].split())
    if not 15 <= len(summary) <= 400 or not summary.isascii() or any(isinstance(d, ast.expr) for d in node.decorator_list):
        return None
    source = _dedent(lines_without(node.body[0], lines, node.lineno - 1, node.end_lineno))
    if not source or not source.isascii():
        return None
    signature = f"{node.name}({', '.join(argument.arg for argument in node.args.args)})"
    if rng.random() < 0.6:
        write, implement = f"Write a Python function `{signature}`. {summary}", f"Implement `{signature}`: {summary}"
        asks = (write, implement, f"{summary} Name it `{node.name}`.")
        summary = rng.choice(asks)
    if rng.random() < 0.5:
        summary = f"{summary} {mentions(source, rng)}".rstrip()
    return Problem(task_id=node.name, instruction=summary, reference=source)


def _dedent(lines: list[str]) -> str:
    if not lines:
        return ""
    indent = len(lines[0]) - len(lines[0].lstrip())
    if any(line.strip() and line[:indent].strip() for line in lines):
        return ""
    source = "\n".join(line[indent:].rstrip() for line in lines if line.strip()) + "\n"
    try:
        ast.parse(source)
    except (SyntaxError, ValueError):
        return ""
    return source


def _wanted(relative: Path) -> bool:
    name = relative.name
    return not _SKIPPED_FOLDERS & set(relative.parts[:-1]) and not name.startswith(("test_", "_test")) and not name.endswith("_pb2.py")


def _read(path: Path, dropped: Counter[str]) -> str | None:
    try:
        if not 200 <= path.stat().st_size <= MAX_FILE_BYTES:
            dropped["file too small or too large"] += 1
            return None
        text = path.read_text(encoding="utf-8").replace("\r\n", "\n")
        ast.parse(text)
    except (OSError, UnicodeDecodeError, SyntaxError, ValueError, RecursionError):
        dropped["file does not read or parse"] += 1
        return None
    if generated_marker(text):
        dropped["file is generated"] += 1
        return None
    return text


def _fresh(text: str, seen: set[str], dropped: Counter[str]) -> bool:
    """Whether the text, white space aside, was not there before."""
    key = _hash(text)
    if key in seen:
        dropped["exact duplicate"] += 1
        return False
    seen.add(key)
    return True


def _hash(text: str) -> str:
    """Of the text, white space aside."""
    return hashlib.sha256("".join(text.split()).encode()).hexdigest()


def _is_held_out(text: str) -> bool:
    return int(_hash(text), 16) % HELD_OUT_ONE_IN == 0
