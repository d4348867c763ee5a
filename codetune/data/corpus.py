"""The pre-training corpus of the shipped base model: permissively licensed Python that is installed where this runs.

The standard library and every installed package whose metadata says MIT, BSD, Apache or PSF, as files, as (docstring, function)
pairs in codetune's prompt styles, and as small edits of their functions. A manifest fixes names, versions, licences and hashes;
documents that share 13 words with a benchmark are left out and counted. What a file gives depends on the file and the seed alone, so
processes share the work and the corpus is the same.
"""

from __future__ import annotations

import ast
import dataclasses
import hashlib
import importlib.metadata
import itertools
import random
import re
import sys
import sysconfig
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np

from codetune.data.cleaning.filters import generated_marker
from codetune.data.codebase.licences import metadata_licence
from codetune.data.docstrings import lines_without
from codetune.data.edits import edit_problem, mentions
from codetune.data.overlap.benchmark_index import BenchmarkIndex
from codetune.data.shards import over_shards
from codetune.data.similar.duplicates import find_duplicates
from codetune.data.similar.minhash import fingerprint, save_fingerprints
from codetune.data_recipe import DuplicatesConfig
from codetune.prompts.template import Template
from codetune.records import Problem

PERMISSIVE = re.compile(r"\b(MIT|BSD|Apache|PSF|Python Software Foundation|ISC)\b", re.IGNORECASE)
RESTRICTIVE = re.compile(r"\b(GPL|LGPL|AGPL|MPL|Mozilla|EPL|CC-BY|Proprietary|GNU)\b", re.IGNORECASE)
_TESTS = {"test", "tests", "testing"}
_COPIES = {"site-packages", "dist-packages", "_vendor", "vendor", "externals", "pip", "ensurepip"}
_SKIPPED_FOLDERS = _TESTS | _COPIES | {"idlelib", "lib2to3", "turtledemo"}
_STYLES = ("instruction", "instruction", "instruction", "docstring", "alpaca", "completion", "austin-0shot", "incoder")  # all but chat
_EDIT_STYLES = ("instruction", "instruction", "docstring", "alpaca")
MAX_FILE_BYTES = 100_000
MAX_FUNCTION_LINES = 40
MAX_EDIT_LINES = 20
HELD_OUT_ONE_IN = 200
MAX_PACKAGE_BYTES = 6_000_000
_FILES_AT_ONCE = 64


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


@dataclass(frozen=True, slots=True)
class Read:
    """What one file gives. `left_out` says why it is not wanted; `key` is a hash of its text, "" where there is none."""

    left_out: str = ""
    key: str = ""
    overlap: str = ""  # the benchmark that it shares 13 words with
    text: str = ""
    pairs: tuple[str, ...] = ()
    functions: tuple[str, ...] = ()
    edits: tuple[str, ...] = ()
    near_copy: bool = False  # of a file that stays


def build_corpus(
    benchmarks: BenchmarkIndex,
    seed: int = 0,
    max_package_bytes: int = MAX_PACKAGE_BYTES,
    packages: Iterable[Package] | None = None,
    processes: int = 1,
) -> Corpus:
    """The corpus of these packages, by default all installed ones. At most `max_package_bytes` of files each, so that none dominates.

    The first of equal texts stays, in the order of the packages and of each one's files as the seed shuffles them.
    """
    corpus, rng, seen = Corpus(), random.Random(seed), set[str]()
    wanted = list(installed_packages() if packages is None else packages)
    orders = [rng.sample(package.files, len(package.files)) for package in wanted]
    paths = list(itertools.chain.from_iterable(orders))
    shards = [paths[at : at + _FILES_AT_ONCE] for at in range(0, len(paths), _FILES_AT_ONCE)]
    with closing(over_shards(partial(_read_files, benchmarks, seed), shards, processes)) as parts:
        every = iter(_marked(list(itertools.chain.from_iterable(parts))))
    for package, order in zip(wanted, orders, strict=True):
        _take(corpus, package, itertools.islice(every, len(order)), seen, max_package_bytes)
    for documents in (corpus.files, corpus.pairs, corpus.functions, corpus.edits, corpus.held_out):
        rng.shuffle(documents)
    return corpus


def _take(corpus: Corpus, package: Package, files: Iterable[Read], seen: set[str], max_bytes: int) -> None:
    """A package's files into the corpus, less what is there already, and its line of the manifest."""
    digest, used, pairs_before = hashlib.sha256(), 0, len(corpus.pairs)
    for file in files:
        if file.left_out:
            corpus.dropped[file.left_out] += 1
            continue
        if not _fresh(file.key, seen, corpus.dropped):
            continue
        if file.near_copy:
            corpus.dropped["near duplicate"] += 1
            continue
        if file.overlap:
            corpus.dropped[f"file shares 13 words with {file.overlap}"] += 1
            continue
        if _is_held_out(file.key):
            corpus.held_out += [file.text, *file.pairs]
            continue
        for documents, made in ((corpus.pairs, file.pairs), (corpus.functions, file.functions), (corpus.edits, file.edits)):
            documents += [document for document in made if _fresh(_hash(document), seen, corpus.dropped)]
        if used < max_bytes:
            corpus.files.append(file.text)
            used += len(file.text)
        digest.update(file.text.encode())
    if used:
        corpus.manifest.append(
            {"name": package.name, "version": package.version, "licence": package.licence, "file_bytes": used,
             "pairs": len(corpus.pairs) - pairs_before, "sha256": digest.hexdigest()}
        )  # fmt: skip


def _marked(files: list[Read]) -> list[Read]:
    """The same, with a mark on those that are nearly a copy of an earlier one: packages hold many (The Stack's rule: 0.7 of 5-grams)."""
    at = [number for number, file in enumerate(files) if file.text]
    if not at:
        return files
    rules = DuplicatesConfig()
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "files.npz"
        save_fingerprints(path, fingerprint([files[number].text for number in at], rules))
        (found,) = find_duplicates([path], [np.zeros(len(at))], rules).parts
    gone = {number for number, stays, exact in zip(at, found.stays, found.exact, strict=True) if not stays and not exact}
    return [dataclasses.replace(file, near_copy=number in gone) for number, file in enumerate(files)]


def _read_files(benchmarks: BenchmarkIndex, seed: int, paths: Iterable[Path]) -> list[Read]:
    return [_read_file(path, benchmarks, seed) for path in paths]


def _read_file(path: Path, benchmarks: BenchmarkIndex, seed: int) -> Read:
    """All that could be wanted of a file: what is a copy of what is known when files come together."""
    text, left_out = _read(path)
    if left_out:
        return Read(left_out)
    key = _hash(text)
    if where := benchmarks.overlap(text):
        return Read(key=key, overlap=where)
    rng = random.Random(f"{seed} {key}")
    functions, lines = parsed(text)
    pairs = tuple(function_pairs(functions, lines, rng))
    lone = tuple(function_pairs([node for node in functions if not is_method(node)], lines, rng))
    return Read("", key, "", text, pairs, lone, tuple(function_edits(functions, lines, rng)))


def installed_packages() -> list[Package]:
    """The standard library and all permissively licensed distributions, by name."""
    library = Path(sysconfig.get_paths()["stdlib"])
    files = tuple(sorted(path for path in library.rglob("*.py") if _wanted(path.relative_to(library))))
    packages = [Package("python-standard-library", sys.version.split()[0], "PSF-2.0", files)]
    read = ((found.metadata, found) for found in importlib.metadata.distributions())  # it is parsed at each look
    named = [(metadata["Name"], metadata, found) for metadata, found in read if metadata["Name"]]  # a broken install's has none
    for name, metadata, found in sorted(named, key=lambda item: item[0].lower()):
        licence = metadata_licence(metadata)
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


def _read(path: Path) -> tuple[str, str]:
    """A file's text, or why it is not wanted."""
    try:
        if not 200 <= path.stat().st_size <= MAX_FILE_BYTES:
            return "", "file too small or too large"
        text = path.read_text(encoding="utf-8").replace("\r\n", "\n")
        ast.parse(text)
    except (OSError, UnicodeDecodeError, SyntaxError, ValueError, RecursionError):
        return "", "file does not read or parse"
    return ("", "file is generated") if generated_marker(text) else (text, "")


def _fresh(key: str, seen: set[str], dropped: Counter[str]) -> bool:
    """Whether a text of this hash was not there before."""
    if key in seen:
        dropped["exact duplicate"] += 1
        return False
    seen.add(key)
    return True


def _hash(text: str) -> str:
    """Of the text, white space aside."""
    return hashlib.sha256("".join(text.split()).encode()).hexdigest()


def _is_held_out(key: str) -> bool:
    return int(key, 16) % HELD_OUT_ONE_IN == 0
