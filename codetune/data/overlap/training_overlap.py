"""What a run's training data has in common with benchmarks: found once, kept on disk, and said in a report."""

from __future__ import annotations

import contextlib
import dataclasses
import json
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from codetune.config import DecontaminateConfig, content_hash
from codetune.data.benchmarks import Benchmark, load
from codetune.data.catalogue import ENTRIES, TEST_SETS
from codetune.data.overlap.decontaminate import Decontaminator, Overlap
from codetune.errors import UserError
from codetune.records import Document, Json
from codetune.runs import cache_folder, write_json

CACHE_VERSION = 2
EXAMPLES = 3  # per benchmark, in reports


@dataclass(frozen=True, slots=True)
class TrainingOverlap:
    """Which of `documents` training documents overlap a benchmark, and whether they were left out."""

    documents: int = 0
    against: tuple[str, ...] = ()
    left_out: bool = True
    found: tuple[tuple[str, tuple[Overlap, ...]], ...] = ()  # by document

    def among(self, ids: Collection[str]) -> TrainingOverlap:
        """The same for some of the documents."""
        return dataclasses.replace(self, documents=len(ids), found=tuple(item for item in self.found if item[0] in ids))

    def joined(self, other: TrainingOverlap) -> TrainingOverlap:
        """With that of further documents, against the same benchmarks."""
        count, found = self.documents + other.documents, self.found + other.found
        return dataclasses.replace(other, documents=count, found=found)

    def tasks(self, benchmark: str) -> set[str]:
        """The problems of a benchmark that some document overlaps."""
        return {overlap.task_id for _, overlaps in self.found for overlap in overlaps if overlap.benchmark == benchmark}

    def summary(self) -> Json:
        """How many, by benchmark, with examples: what a result keeps."""
        by_benchmark: dict[str, Json] = {}
        for name in self.against:
            hits = [(document, o) for document, overlaps in self.found for o in overlaps[::-1] if o.benchmark == name]
            strongest = dict(hits)  # the last is the largest share
            shown = [{"document": document, **dataclasses.asdict(o)} for document, o in list(strongest.items())[:EXAMPLES]]
            rules = Counter(o.rule for o in strongest.values())
            by_benchmark[name] = {
                "documents": len(strongest), "problems": len(self.tasks(name)), "by_rule": dict(sorted(rules.items())), "examples": shown,
            }  # fmt: skip
        return {"documents": self.documents, "overlapping": len(self.found), "left_out": self.left_out, "benchmarks": by_benchmark}


def benchmarks_against(config: DecontaminateConfig) -> list[Benchmark]:
    """The benchmarks that a section names; for `auto` all that are found. Raises UserError for one that is not there."""
    return [load(name) for name in (found_benchmarks() if config.against == "auto" else config.against)]


def found_benchmarks() -> list[str]:
    """The names of `TEST_SETS` that are there."""
    found = {entry.name for entry in ENTRIES if entry.use == "benchmark" and entry.found()}
    return [name for name in TEST_SETS if name in found]


def covers(made: Json, benchmarks: Sequence[Benchmark], config: DecontaminateConfig) -> bool:
    """Whether a prepared folder, by its manifest's account, holds nothing that overlaps these benchmarks by these rules."""
    known = {(name, sha256) for name, sha256 in made["against"].items()}
    same = (made["run_words"], made["min_share"]) == (config.run_words, config.min_share)
    return bool(config.drop and made["drop"] and same) and {(each.name, each.sha256) for each in benchmarks} <= known


def find_overlaps(documents: Sequence[Document], benchmarks: Sequence[Benchmark], config: DecontaminateConfig) -> list[tuple[Overlap, ...]]:
    """What each document overlaps. Kept on disk, since every cell of a study asks the same."""
    texts = [(one.source, one.group, one.instruction, one.input, one.prompt, one.whole) for one in documents]
    against = [(benchmark.name, benchmark.sha256, len(benchmark.problems)) for benchmark in benchmarks]
    path = cache_folder() / f"overlaps-{content_hash([CACHE_VERSION, config.run_words, config.min_share, against, texts])}.json"
    found = _load(path)
    if found is None:
        overlaps = Decontaminator.of(benchmarks, config).overlaps(documents)
        found = {number: each for number, each in enumerate(overlaps) if each}
        with contextlib.suppress(UserError):  # a cache that cannot be written only costs time
            write_json(path, {number: [dataclasses.asdict(overlap) for overlap in each] for number, each in found.items()})
    return [found.get(number, ()) for number in range(len(documents))]


def _load(path: Path) -> dict[int, tuple[Overlap, ...]] | None:
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
        return {int(number): tuple(Overlap(**overlap) for overlap in each) for number, each in kept.items()}
    except (OSError, ValueError, TypeError, AttributeError):  # missing or damaged: found anew
        return None
