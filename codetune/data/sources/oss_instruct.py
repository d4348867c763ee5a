"""OSS-Instruct (Wei et al. 2023, Magicoder): problems that a language model made up from snippets of open code, and their solutions.

Rows: https://huggingface.co/datasets/ise-uiuc/Magicoder-OSS-Instruct-75K
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from codetune.data.files import Row
from codetune.data.languages import canonical
from codetune.data.read import Skipped
from codetune.data.sources.source import Hub, Source
from codetune.data_recipe import SourceConfig
from codetune.records import Document

_FENCED = re.compile(r"\s*```[^\n]*\n(.*?)\n?```\s*", re.DOTALL)


def documents(row: Row, config: SourceConfig) -> Iterable[Document | Skipped]:
    """The text is the code where the solution is one fence and nothing else, or else the whole solution."""
    language = canonical(row.text("lang", ""))
    wish, solution = row.text("problem").strip(), row.text("solution")
    if not wish:
        raise row.error("'problem' is empty; there is nothing to ask for")
    if language and language not in map(canonical, config.languages):
        yield Skipped(row.where, "in another language")
    elif not solution.strip():
        yield Skipped(row.where, "no answer")
    else:
        fence = _FENCED.fullmatch(solution)
        code = fence[1] + "\n" if fence and "```" not in fence[1] else solution
        yield Document("", text=code, instruction=wish, language=language)


SOURCE = Source(
    "oss-instruct",
    documents,
    "75 thousand problems made up from snippets of open code, with solutions, in nine languages",
    wants=(("problem", "solution"),),
    licence="MIT",
    schema="https://huggingface.co/datasets/ise-uiuc/Magicoder-OSS-Instruct-75K",
    files={"train": ("oss-instruct/*", "magicoder/*")},
    hub=Hub("ise-uiuc/Magicoder-OSS-Instruct-75K"),
    settings=frozenset({"languages"}),
)
