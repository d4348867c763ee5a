"""A code base of one's own as training data: its files as plain code, its documented Python functions as pairs.

`code_chunks` finds the files of a folder (see `repository` for which) and cuts them into chunks; `read_code_chunk` makes documents of
one, in whatever process: nothing is read before it, and a document depends on its file and repository alone. A pair has the docstring's
first paragraph as its instruction and the function without the docstring as its text; `facts["file"]` is the same for a file and for
the pairs cut out of it, which must never stand on different sides of a split.
"""

from __future__ import annotations

import io
import tokenize
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from codetune.data.codebase.filenames import named_languages
from codetune.data.codebase.functions import Function, functions
from codetune.data.codebase.licences import file_licence, is_allowed
from codetune.data.codebase.repository import MAX_FILE_BYTES, TOO_LARGE, Item, Repository, SourceFile, Tree, git_folder, unreadable, walk
from codetune.data.read import BadRow, Skipped
from codetune.data_recipe import SourceConfig
from codetune.errors import UserError
from codetune.records import Document


@dataclass(frozen=True, slots=True)
class CodeChunk:
    """Some files of a folder, and what was left out on the way to them."""

    name: str  # the folder's, and the number of its first file
    folder: Path
    items: tuple[Item, ...]
    repositories: dict[int, Repository]  # those of its files
    config: SourceConfig
    share: float = 0.0  # of the folder, read up to this chunk's end


def code_chunks(path: Path, config: SourceConfig, files_per_chunk: int) -> Iterator[CodeChunk]:
    """A folder's files, `files_per_chunk` to a chunk, in an order that depends on their names alone.

    Raises UserError where the path is no folder or a bare repository, and where no file is in one of the languages asked for.
    """
    languages = named_languages(config.languages)
    folder = _checked(path)
    tree = walk(folder)
    items = _wanted(path, tree, languages, config.make)
    return _cut(folder, items, tree, config, files_per_chunk)


def read_code_chunk(chunk: CodeChunk) -> Iterator[Document | BadRow | Skipped]:
    """The documents of a chunk, each file before the functions cut out of it, among all that was left out or cannot be read."""
    for item in chunk.items:
        if isinstance(item, SourceFile):
            yield from _read(chunk, item)
        else:
            yield item


def _checked(path: Path) -> Path:
    if path.is_file():
        raise UserError(f"{path} is a file; give the folder or git repository that it is in")
    if not path.is_dir():
        raise UserError(f"{path} not found; give an existing folder or git repository")
    if (path / "HEAD").is_file() and (path / "objects").is_dir() and (path / "refs").is_dir() and git_folder(path) is None:
        raise UserError(f"{path} is a bare git repository, without files; clone it (git clone {path} FOLDER) and give the clone")
    return path.resolve()


def _wanted(path: Path, tree: Tree, languages: tuple[str, ...], make: str) -> list[Item]:
    """The items, with files of other languages as left out, and a word on languages that give no pairs."""
    counts = Counter(item.language for item in tree.items if isinstance(item, SourceFile))
    usable = [language for language in languages if counts[language] and (language == "python" or make != "pairs")]
    if not usable:
        there = ", ".join(f"{language} ({count})" for language, count in sorted(counts.items(), key=lambda item: (-item[1], item[0])))
        asked = "python, the only language that pairs are made of" if make == "pairs" else ", ".join(languages)
        raise UserError(f"{path}: no files in {asked}; there are {there or 'none in any other language'}; set languages")
    without_pairs = [language for language in languages if counts[language] and language != "python" and make != "files"]
    items: list[Item] = [Skipped(name, "pairs are made of Python alone") for name in without_pairs]
    for item in tree.items:
        if not isinstance(item, SourceFile) or item.language in usable:
            items.append(item)
        elif item.language not in languages:
            items.append(Skipped(item.where, f"{item.language} is not asked for"))
    return items


def _cut(folder: Path, items: Sequence[Item], tree: Tree, config: SourceConfig, files_per_chunk: int) -> Iterator[CodeChunk]:
    """Chunks of so many files; what was left out goes with the file that follows it."""

    def chunk(done: int) -> CodeChunk:
        homes = {one.repository: tree.repositories[one.repository] for one in held if isinstance(one, SourceFile)}
        return CodeChunk(f"{folder.name}, file {first}", folder, tuple(held), homes, config, done / len(items))

    first, files, held = 1, 0, list[Item]()
    for done, item in enumerate(items, 1):
        held.append(item)
        files += isinstance(item, SourceFile)
        if files == files_per_chunk:
            yield chunk(done)
            first, files, held = first + files, 0, []
    if held:
        yield chunk(len(items))


def _read(chunk: CodeChunk, file: SourceFile) -> Iterator[Document | BadRow | Skipped]:
    try:
        with (chunk.folder / file.where).open("rb") as opened:
            raw = opened.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        yield BadRow(file.where, unreadable(error))
        return
    if len(raw) > MAX_FILE_BYTES:
        yield Skipped(file.where, TOO_LARGE)
        return
    text = _decoded(raw, file.language)
    if text is None:
        yield BadRow(file.where, "not text: it has NUL bytes or does not decode")
        return
    licence = file_licence(text) or file.licence
    if chunk.config.licences and not is_allowed(licence, chunk.config.licences):
        yield Skipped(file.where, f"licence not asked for: {licence}" if licence else "licence unknown")
        return
    document = _document(chunk, file, text, licence)
    if chunk.config.make != "pairs":
        yield document
    if chunk.config.make != "files" and file.language == "python":
        yield from _pairs(document)


def _decoded(raw: bytes, language: str) -> str | None:
    """The text of a file, lines ended by LF, without its byte order mark; Python's may name another encoding than UTF-8 (PEP 263)."""
    encoding = "utf-8-sig"
    try:
        if language == "python":
            encoding, _ = tokenize.detect_encoding(io.BytesIO(raw).readline)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of codecs such as unicode_escape
            text = raw.decode(encoding)
        text.encode()  # some codecs give half characters
    except (SyntaxError, LookupError, ValueError):
        return None
    return None if "\x00" in text else text.replace("\r\n", "\n").replace("\r", "\n")


def _document(chunk: CodeChunk, file: SourceFile, text: str, licence: str) -> Document:
    home = chunk.repositories[file.repository]
    path = (chunk.folder / file.where).relative_to(home.folder).as_posix()
    origin = "/".join(part for part in (home.remote, home.commit and f"blob/{home.commit}", path) if part) if home.remote else path
    facts = {
        "path": path, "file": file.where, "repository": home.name, "repository_bytes": home.language_bytes.total(),
        "main_language": home.main_language, "generated": False, "vendored": False,
    }  # fmt: skip
    return Document(
        id=file.where, text=text, language=file.language, source=chunk.folder.name, origin=origin, licence=licence, group=home.name,
        facts=facts,
    )  # fmt: skip


def _pairs(file: Document) -> Iterator[Document | Skipped]:
    """The documented functions of a Python file. Where a name is defined again, the later ones' ids end in #2, #3 and so on."""
    found = functions(file.text)
    if found is None:
        yield Skipped(file.id, "no pairs: does not parse as Python 3")
        return
    times = Counter[str]()
    for function in found:
        times[function.qualified_name] += 1
        nth = times[function.qualified_name]
        name = f"{file.id}::{function.qualified_name}" + (f"#{nth}" if nth > 1 else "")
        yield Skipped(name, function.reason) if function.reason else _pair(file, function, name)


def _pair(file: Document, function: Function, name: str) -> Document:
    return Document(
        id=name, instruction=function.instruction, text=function.text, entry_point=function.name, language=file.language,
        source=file.source, origin=f"{file.origin}#L{function.first_line}-L{function.last_line}", licence=file.licence, group=file.group,
        facts={**file.facts, "method": function.is_method},
    )  # fmt: skip
