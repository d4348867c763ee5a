"""A source's documents in this process, and training problems by name or from the user's own file: `load_source("conala", "train")`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from codetune.data import basics, conala, leetcode, mbpp, own
from codetune.data.files import find_data, require_file
from codetune.data.read import BadRow
from codetune.data.sources.opened import Opened, open_source, read_chunk
from codetune.data.sources.registry import FORMS, SOURCES
from codetune.data_recipe import SourceConfig
from codetune.errors import UserError, nearest
from codetune.records import Document, Problem

_ROWS_PER_CHUNK = 1000
_SPLITS = {"basics": ("train", "validation"), "conala": ("train",), "leetcode": ("train",), "mbpp": ("train", "validation", "examples")}
Notice = Callable[[str, str], None]  # where a bad row stands, and what is wrong with it


def documents(config: SourceConfig, root: Path | None = None, strict: bool = False, notice: Notice | None = None) -> Iterator[Document]:
    """All documents of a source, in order. A bad row is told to `notice` and passed over; with `strict` it is a UserError.

    A repeated id is a bad row. What a source leaves out by its own rules is not bad.
    """
    seen, left = set[str](), config.max_documents
    for chunk in open_source(config, root).chunks(_ROWS_PER_CHUNK):
        for each in read_chunk(chunk):
            if isinstance(each, Document) and each.id in seen:
                each = BadRow(each.origin, f"the id {each.id!r} was there before; every document needs its own")
            if isinstance(each, BadRow):
                if strict:
                    raise UserError(f"{each.where}: {each.reason}")
                if notice:
                    notice(each.where, each.reason)
            elif isinstance(each, Document):
                seen.add(each.id)
                yield each
                if left is not None and (left := left - 1) == 0:
                    return


def load_source(name_or_path: str, split: str = "train", data: Path | None = None) -> tuple[Problem, ...]:
    """The training problems of one split, each with a reference.

    Raises UserError for an unknown source or split, a missing file, a faulty row, and a row without a reference.
    """
    if name_or_path in _SPLITS:
        if split not in _SPLITS[name_or_path]:
            raise UserError(f"{name_or_path!r} has no split {split!r}; {nearest(split, _SPLITS[name_or_path])}")
        return _load_named(name_or_path, split, data)
    path = Path(name_or_path)
    own_file = name_or_path not in SOURCES
    if own_file and not ("/" in name_or_path or path.suffix or path.exists()):
        names = set(SOURCES) - set(FORMS)
        raise UserError(f"unknown training data {name_or_path!r}; {nearest(name_or_path, names)}, or a JSON or JSONL file")
    if own_file and not path.is_dir():
        require_file(path)
    config = SourceConfig(source=name_or_path, split=split, path=None if own_file else data)
    found = tuple(documents(config, strict=True))
    if any(document.messages for document in found):
        raise UserError(f"{name_or_path}: rows of conversations, which are no problems with one answer each")
    opened = open_source(config)
    if isinstance(opened, Opened) and opened.source.name == "problems":  # documents have no room for their setup and time limits
        return tuple(problem for file in opened.files for problem in own.load(file.path))
    return tuple(document.problem for document in found)


def load_documents(name_or_path: str, split: str = "train", data: Path | None = None) -> list[Document]:
    """The training documents of one split, conversations and plain code too. Raises UserError as `load_source` does."""
    if name_or_path in _SPLITS:
        return [Document.of(problem) for problem in load_source(name_or_path, split, data)]
    code = name_or_path == "code" or Path(name_or_path).is_dir()  # of many files some never read; of many rows none should
    own = {"path": data} if data is not None else {}
    wanted = {} if code and split == "train" else {"split": split}
    return list(documents(SourceConfig(source=name_or_path, **own, **wanted), strict=not code))


def austin_examples(data: Path | None = None) -> tuple[Problem, ...]:
    """Tasks 2, 3 and 4 of MBPP, the worked examples of its published prompts; `data` is MBPP's file."""
    return tuple(problem for problem in load_source("mbpp", "examples", data) if problem.task_id in mbpp.AUSTIN_EXAMPLES)


def _load_named(name: str, split: str, data: Path | None) -> tuple[Problem, ...]:
    if name == "conala":
        return conala.load_train(find_data(conala.TRAIN_FILE, data))
    if name == "leetcode":
        return leetcode.load(find_data(leetcode.TRAIN_FILE, data))
    if name == "mbpp":
        return mbpp.load_split(find_data(mbpp.FILE, data), split)
    if data is not None:
        raise UserError(f"{name!r} ships with codetune and takes no file, got {data}; leave it out")
    return basics.load(split)
