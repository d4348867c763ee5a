"""What a run is trained and validated on: documents of a source or of a prepared folder, less what overlaps benchmarks, as tokens.

Documents come in shards: those of a prepared folder are its files, read as they are needed; others are in memory.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from codetune.config import DataConfig, DecontaminateConfig, LossOn, content_hash
from codetune.data.benchmarks import Benchmark
from codetune.data.encode import Tokenizer, encode_documents
from codetune.data.files import sha256_of, use_root
from codetune.data.overlap.training_overlap import TrainingOverlap, benchmarks_against, covers, find_overlaps
from codetune.data.prepared.read import files_of, is_prepared, read_file, read_manifest
from codetune.data.sources import load_documents
from codetune.data.tokenise import CACHE_VERSION, Example, TokenisedExamples, collect, cut, tokenise
from codetune.errors import UserError
from codetune.once import once
from codetune.prompts.infill import Infilling
from codetune.prompts.template import Template
from codetune.records import Document, Message
from codetune.runs import cache_folder

Shard = tuple[Document, ...] | Path
_BATCH = 1000  # documents that are encoded at a time
_KEPT = 50_000  # documents, of as many the list may stay in memory; see codetune.once
_OWN_VALIDATION = ("basics", "mbpp")


@dataclass(frozen=True, slots=True)
class TrainingData:
    """Documents by shard. `left_out` are the ids of those in the files of a prepared folder that overlap a benchmark."""

    train: tuple[Shard, ...]
    validation: tuple[Shard, ...] = ()
    overlap: TrainingOverlap = field(default_factory=TrainingOverlap)
    left_out: frozenset[str] = frozenset()
    folder: Path | None = None  # of prepared data

    def documents(self) -> Iterator[Document]:
        """What is trained on, in order."""
        for shard in self.train:
            yield from (document for document in documents_of(shard) if document.id not in self.left_out)


def documents_of(shard: Shard) -> Iterator[Document]:
    return read_file(shard) if isinstance(shard, Path) else iter(shard)


@once(worth=lambda found: sum(len(shard) for shard in found.train if not isinstance(shard, Path)) <= _KEPT)
def training_data(data: DataConfig, decontaminate: DecontaminateConfig | None = None) -> TrainingData:
    """The documents that a data section asks for; those that overlap benchmarks are looked for, and left out unless `drop` is false.

    Raises UserError for what cannot be read, and where nothing is left to train on.
    """
    use_root(data.root)
    if is_prepared(Path(data.source)):
        return _prepared(data, decontaminate)
    train, validation = _split(data)
    if decontaminate is None:
        return TrainingData((tuple(train[: data.max_examples]),), (tuple(validation),))
    asked = [*(train if decontaminate.drop else train[: data.max_examples]), *validation]
    overlap, gone = _overlapping(asked, len(asked), benchmarks_against(decontaminate), decontaminate)
    train = [document for document in train if document.id not in gone][: data.max_examples]
    if not train:
        _refuse(data, overlap)
    return TrainingData((tuple(train),), (tuple(document for document in validation if document.id not in gone),), overlap)


def data_hash(data: DataConfig) -> str:
    """A hash of all documents that a data section could take. Raises UserError where the data is not there."""
    use_root(data.root)
    path = Path(data.source)
    if is_prepared(path):
        return str(read_manifest(path)["version"])
    if data.path is None and path.is_file():
        return sha256_of(path)[:16]
    return content_hash([_texts(document) for document in load_documents(data.source, data.split, data.path)])


@dataclass(frozen=True, slots=True)
class Maker:
    """Documents to examples, in whatever process: rendered, encoded and, where plain code is too long, cut."""

    template: Template
    tokenizer: Tokenizer
    max_length: int
    loss_on: LossOn = "completion"
    infilling: Infilling | None = None
    left_out: frozenset[str] = frozenset()

    def __call__(self, shard: Shard) -> Iterator[Example]:
        """The examples of a shard in order. Raises UserError for a conversation that the template cannot write."""
        return (example for _, example in self.with_documents(shard))

    def with_documents(self, shard: Shard) -> Iterator[tuple[Document, Example]]:
        """Each example and the document that it is of."""
        wanted = (document for document in documents_of(shard) if document.id not in self.left_out)
        while batch := list(itertools.islice(wanted, _BATCH)):
            made = encode_documents(batch, self.template, self.tokenizer, self.loss_on, self.infilling, self.max_length)
            for document, encoded in zip(batch, made, strict=True):
                if isinstance(encoded, str):
                    raise UserError(f"{document.origin or document.id}: {encoded}")
                if document.kind == "code" and len(encoded[0]) > self.max_length:
                    yield from ((document, piece) for piece in cut(encoded[0], self.max_length))
                else:
                    yield document, Example(*encoded)

    def key(self, shards: tuple[Shard, ...]) -> str:
        """A hash of all that determines the tokens."""
        sources = [sha256_of(one) if isinstance(one, Path) else [self._rendered(document) for document in one] for one in shards]
        tokens = [self.tokenizer.name_hash, self.tokenizer.bos_id, self.tokenizer.eos_id, self.loss_on, self.max_length]
        how = [repr(self.infilling), sorted(self.left_out), list(map(self._rendered, _SPECIMENS))]
        return content_hash([CACHE_VERSION, *tokens, *how, sources])

    def _rendered(self, document: Document) -> list[object]:
        try:
            rendered = self.template.render_document(document)
        except UserError as error:  # said when it is encoded
            return [str(error)]
        return [rendered.has_special, *((segment.text, segment.supervised) for segment in rendered.segments), document.id]


# Rendered into every key, so that tokens of a template that has changed since are not found again.
_SPECIMENS = (
    Document("pair", text="a + b", instruction="Add.", input="1, 2"),
    Document("code", text="x = 1"),
    Document("chat", messages=tuple(Message(role, f"The {role}.") for role in ("user", "assistant", "user", "assistant"))),
)  # fmt: skip


def tokenise_documents(
    shards: tuple[Shard, ...],
    maker: Maker,
    folder: Path | None = None,
    processes: int | None = None,
    progress: Callable[[int, int], None] = lambda done, shards: None,
) -> TokenisedExamples:
    """The examples of all documents that fit; those that do not are counted. `processes`: default one per core.

    Kept on disk: in the folder where one is given that can be written, else in the cache. Raises UserError where none fits.
    """
    key = maker.key(shards)
    home = folder if folder is not None and os.access(folder, os.W_OK) else cache_folder()
    try:
        made = tokenise(shards, maker, home / f"tokens-{key}", key, maker.max_length, processes or len(os.sched_getaffinity(0)), progress)
    except OSError:  # a cache that cannot be written only costs time
        made = collect(itertools.chain.from_iterable(map(maker, shards)), maker.max_length)
    if not len(made):
        count = f"{made.dropped_long} examples" if made.dropped_long else "the data"
        raise UserError(f"none of {count} fits max_seq_len={maker.max_length} tokens: raise max_seq_len")
    return made


def names_of(examples: Sequence[int], shards: tuple[Shard, ...], maker: Maker) -> list[str]:
    """The documents that examples are of, by id and where a person finds them. They are tokenised again up to the last asked for."""
    made = itertools.chain.from_iterable(map(maker.with_documents, shards))
    kept = (document for document, example in made if len(example.ids) <= maker.max_length)
    wanted = set(examples)
    found = itertools.compress(kept, (number in wanted for number in range(max(wanted, default=-1) + 1)))
    return [f"{each.id} ({each.origin})" if each.origin and each.origin != each.id else each.id for each in found]


def _split(data: DataConfig) -> tuple[list[Document], list[Document]]:
    """All documents of a source. Where it has no validation split, its last ones are taken off."""
    documents = load_documents(data.source, data.split, data.path)
    if data.source in _OWN_VALIDATION:
        return documents, load_documents(data.source, "validation", data.path)[: data.validation_examples]
    own = [document for document in documents if document.split == "validation"]
    if own:
        return [document for document in documents if document.split != "validation"], own[: data.validation_examples]
    count = min(data.validation_examples, len(documents) // 10)
    return documents[: len(documents) - count], documents[len(documents) - count :]


def _prepared(data: DataConfig, decontaminate: DecontaminateConfig | None) -> TrainingData:
    """The files of a prepared folder. It is searched for overlap only where that was not done when it was made."""
    folder = Path(data.source)
    files, manifest = files_of(folder, data.split), read_manifest(folder)
    held = itertools.islice(itertools.chain.from_iterable(map(read_file, files_of(folder, "validation"))), data.validation_examples)
    validation = (found,) if (found := tuple(held)) else ()
    overlap, gone = TrainingOverlap(), frozenset[str]()
    if decontaminate is not None:
        benchmarks, count = benchmarks_against(decontaminate), int(manifest["splits"][data.split]["documents"])
        if covers(manifest["decontamination"], benchmarks, decontaminate):
            overlap = TrainingOverlap(count, tuple(each.name for each in benchmarks), True)
        else:
            for file in files:
                found_here, more = _overlapping(list(read_file(file)), 0, benchmarks, decontaminate)
                overlap, gone = overlap.joined(found_here), gone | more
    train: tuple[Shard, ...] = tuple(files)
    if data.max_examples is not None:
        kept = (document for file in files for document in read_file(file) if document.id not in gone)
        train = (tuple(itertools.islice(kept, data.max_examples)),)
    return TrainingData(train, validation, overlap, gone, folder)


def _overlapping(
    documents: list[Document], count: int, benchmarks: list[Benchmark], config: DecontaminateConfig
) -> tuple[TrainingOverlap, frozenset[str]]:
    """What overlaps, and the ids of what goes for it."""
    found = find_overlaps(documents, benchmarks, config)
    named = tuple((document.id, each) for document, each in zip(documents, found, strict=True) if each)
    overlap = TrainingOverlap(count or len(documents), tuple(each.name for each in benchmarks), config.drop, named)
    return overlap, frozenset(document for document, _ in named) if config.drop else frozenset()


def _refuse(data: DataConfig, overlap: TrainingOverlap) -> None:
    against = " or ".join(overlap.against)
    raise UserError(f"{data.source}: all training data overlaps {against}; tune on other data, or set decontaminate.drop=false")


def _texts(document: Document) -> list[object]:
    turns = [(turn.role, turn.content) for turn in document.messages]
    return [document.instruction, document.input, document.prompt, document.text, *turns]
