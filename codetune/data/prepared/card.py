"""The card of a prepared folder: a README that a person and the Hugging Face hub read."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping

import yaml

from codetune.data.cleaning.cleaner import RULES
from codetune.data.prepared.account import UNKNOWN
from codetune.records import Json

_SIZES = (1_000, 10_000, 100_000, 1_000_000, 10_000_000, 100_000_000, 1_000_000_000)
_SPDX = re.compile(r"^[A-Za-z0-9][A-Za-z0-9.+-]*$")


def write_card(manifest: Json) -> str:
    """Markdown with the hub's head: sources, licences, what was left out and why, overlap, splits, how to load it."""
    sections = (_lead, _sources, _left_out, _overlap, _use)
    return f"---\n{_head(manifest)}---\n\n" + "\n".join(line for section in sections for line in section(manifest))


def _head(manifest: Json) -> str:
    named = {name for source in manifest["sources"] for name in source["licences"]} - {UNKNOWN}
    licences = sorted(name.lower() for name in named if _SPDX.match(name))
    documents = sum(split["documents"] for split in manifest["splits"].values())
    head = {
        "pretty_name": manifest["name"],
        "license": licences or ["unknown"],
        "tags": ["code", "codetune"],
        "size_categories": [_size(documents)],
        "configs": [{
            "config_name": "default",
            "data_files": [{"split": name, "path": f"{name}-*.parquet"} for name, split in manifest["splits"].items() if split["files"]],
        }],
    }  # fmt: skip
    return str(yaml.safe_dump(head, sort_keys=False, allow_unicode=True))


def _size(documents: int) -> str:
    """The hub's words for it: `1K<n<10K`."""
    names = ("1K", "10K", "100K", "1M", "10M", "100M", "1B")
    place = sum(documents >= size for size in _SIZES)
    if place == 0:
        return "n<1K"
    return f"{names[place - 1]}<n<{names[place]}" if place < len(names) else "n>1B"


def _lead(manifest: Json) -> list[str]:
    splits = ", ".join(f"{split['documents']:,} {name}" for name, split in manifest["splits"].items() if split["documents"])
    return [
        f"# {manifest['name']}", "",
        f"Version `{manifest['version']}`: {splits} documents. Made by codetune {manifest['versions']['codetune']} with "
        "`codetune data prepare`; the recipe is in `manifest.json`. "
        "The same recipe on the same sources gives the same files, byte for byte.", "",
    ]  # fmt: skip


def _sources(manifest: Json) -> list[str]:
    rows = [
        f"| {source['source']} | {source['rows']:,} | {source['documents']:,} | {source['words']:,} | {_counts(source['licences'])} |"
        for source in manifest["sources"]
    ]
    return ["## Sources", "", "| source | rows in | documents out | words | licences |", "|---|---|---|---|---|", *rows, "",
            "Licences are as the sources state them. Whoever uses the data is bound by them.", ""]  # fmt: skip


def _left_out(manifest: Json) -> list[str]:
    totals, masks = Counter[str](), Counter[str]()
    for source in manifest["sources"]:
        totals.update(source["left_out"])
        masks.update(source["masked"])
    listed = sorted(totals.items(), key=lambda item: (-item[1], item[0]))
    rows = [f"| {rule} | {count:,} | {RULES.get(rule, '')} |" for rule, count in listed]
    head = ["## Left out", "", "| rule | documents | what it is |", "|---|---|---|"]
    return [*head, *rows, "", f"Masked: {_counts(masks)}.", ""] if rows else ["## Left out", "", "Nothing.", ""]


def _overlap(manifest: Json) -> list[str]:
    found = manifest["decontamination"]
    shared = _counts(found["overlapping"])
    done = "left out" if found["drop"] else "**kept**"
    return [
        "## Overlap with benchmarks", "",
        f"Against {', '.join(found['against']) or 'no benchmark'}: {found['run_words']} words in a row in common, or a function with the "
        f"same syntax tree up to names. Documents that overlap were {done}: {shared}. Row by row in `overlap.jsonl`.", "",
    ]  # fmt: skip


def _use(manifest: Json) -> list[str]:
    return [
        "## Use", "", "```bash", "codetune train RECIPE --set data.source=THIS_FOLDER", "```", "",
        "```python", "from datasets import load_dataset", "", 'data = load_dataset("THIS_FOLDER")', "```", "",
        "A pair has `instruction` (with `input`) or `prompt`, and `text` answers it; a conversation has `messages`; plain code has "
        "`text` alone. `repeats` says how often a document stands in the training data.", "",
    ]  # fmt: skip


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in sorted(counts.items(), key=lambda item: (-item[1], item[0]))) or "none"
