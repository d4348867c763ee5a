"""All data sources by name, and which of them rows look like."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path

from codetune.data.files import Row, short
from codetune.data.read import BadRow, chunks_of, rows
from codetune.data.sources import (
    alpaca,
    apps,
    basics,
    chat,
    codecontests,
    codesearchnet,
    conala,
    feedback,
    leetcode,
    mbpp,
    odex,
    oss_instruct,
    pairs,
    plain,
    prepared,
    problems,
    stack,
)
from codetune.data.sources.source import Source
from codetune.errors import UserError

# In the order in which rows are tried: the more particular first.
_ALL = (
    basics.SOURCE, codesearchnet.SOURCE, mbpp.SOURCE, leetcode.SOURCE, codecontests.SOURCE, apps.SOURCE, conala.MINED, odex.SOURCE,
    conala.SOURCE, stack.SOURCE, stack.STARCODER, stack.V2, oss_instruct.SOURCE, feedback.SOURCE, chat.SOURCE, alpaca.SOURCE,
    alpaca.CODEALPACA, pairs.SOURCE, problems.SOURCE, plain.SOURCE, prepared.SOURCE,
)  # fmt: skip
SOURCES = {source.name: source for source in _ALL}
FORMS = ("alpaca", "chat", "pairs", "problems", "text", "prepared", "feedback")  # of files of the user's own: no name of a data set
_LOOKED_AT = 100  # rows at the start of a file


def form_of(files: Sequence[Path]) -> Source:
    """The source or form whose keys the first good row of the files has. Raises UserError where there is none."""
    unknown: Row | None = None
    first: BadRow | None = None
    for file in files:
        chunks = chunks_of(file, "", _LOOKED_AT)
        for row in itertools.islice(itertools.chain.from_iterable(map(rows, chunks)), _LOOKED_AT):
            if isinstance(row, BadRow):
                first = first or row
                continue
            for source in _ALL:
                if any(row.values.keys() >= set(wanted) for wanted in source.wants):
                    return source
            unknown = unknown or row
        if unknown:
            break
    if unknown:
        found = short(sorted(unknown.values), 200)
        raise UserError(f"{unknown.where}: no known form of rows, it has the keys {found}; wanted are {_wanted()}")
    if first:
        raise UserError(f"{first.where}: {first.reason}; no good row is there")
    raise UserError(f"{', '.join(map(str, files[:3]))}: no rows; give one JSON object per line")


def _wanted() -> str:
    forms = "; ".join(f"{' and '.join(SOURCES[name].wants[0])} ({name})" for name in FORMS if SOURCES[name].wants)
    return f"{forms}; or those of a data set of `codetune data list`"
