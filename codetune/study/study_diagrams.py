"""What a study's two diagrams say of it, from its records."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from codetune.study.cells import Cell, Study
from codetune.study.figures import Drawn
from codetune.study.plots import RowStyle
from codetune.study.plots_diagrams import KIN, PLACES, pipeline, places
from codetune.study.summary import Block
from codetune.study.tables import format_small_percent


def diagrams(study: Study, blocks: Sequence[Block], styles: Mapping[str, RowStyle]) -> list[Drawn]:
    """The way from problem to comparison, and where each method trains; none of a study without a finished cell."""
    cells = study.cells
    if not cells:
        return []
    way = "From problem to comparison; below each stage is what this study has there. Everything but the method is the same for every row."
    where = (
        "One block of a transformer for each method, from the embeddings up: what is filled is trained, the rest stays as it was. "
        "Percentages are the trained share of base and adapter together, of the rows of this study that are the method or of its kind"
        f"{_range_note(blocks)}."
    )
    rows = _shares(blocks)
    found = [Drawn("pipeline", "How the numbers come about", way, pipeline(_said(cells)))]
    return [*found, Drawn("methods", "What each method trains", where, places(rows, styles, _linears(cells)))] if rows else found


def _said(cells: Sequence[Cell]) -> dict[str, str]:
    """What this study has at each stage, where its records tell."""
    summaries = {name: one for cell in cells for name, one in cell.benchmarks.items()}
    trained = [cell for cell in cells if cell.train]
    rows = _list(cell.row for cell in trained)
    tokens = {cell.train.supervised_tokens for cell in trained if cell.train and cell.train.supervised_tokens}
    decoding = [one.generation.get("decoding") or {} for one in summaries.values()]
    chosen = [", ".join(f"{key.replace('_', ' ')} {one[key]}" for key in ("temperature", "top_p", "n") if key in one) for one in decoding]
    seeds = len({cell.seed for cell in trained})
    said = {
        "Problem": ", ".join(f"{one.num_problems} of {name}" for name, one in summaries.items()),
        "Text": _list(str(one.generation["prompt_style"]) for one in summaries.values() if one.generation.get("prompt_style")),
        "Batches": ", ".join(
            filter(None, [_list(f"packing {cell.train.packing}" for cell in trained if cell.train and cell.train.packing),
                          f"{min(tokens):,} supervised tokens" if len(tokens) == 1 else ""])
        ),
        "Training": rows,
        "Completion": _list(filter(None, chosen)),
        "Verdict": _list(one.sandbox_tier for one in summaries.values() if one.sandbox_tier),
        "Comparison": f"{seeds} training seed{'s' if seeds > 1 else ''}" if seeds else "",
    }  # fmt: skip
    return {stage: text for stage, text in said.items() if text}


def _shares(blocks: Sequence[Block]) -> dict[str, list[tuple[str, str]]]:
    """By place in the diagram, the rows with their shares; a range where models differ."""
    found: dict[str, dict[str, list[float]]] = {}
    for block in blocks:
        for row in block.rows:
            method = next((cell.method for cell in row.cells if cell.train), "")
            place = KIN.get(method, method)
            if place in {one.method for one in PLACES} and not row.is_base:
                shares = found.setdefault(place, {}).setdefault(row.label, [])
                shares += [row.trainable_share] if row.trainable_share is not None else []
    return {place: [(row, _share_text(shares)) for row, shares in rows.items()] for place, rows in found.items()}


def _share_text(shares: Sequence[float]) -> str:
    texts = [format_small_percent(share) for share in (min(shares), max(shares))] if shares else [""]
    return texts[0] if texts[0] == texts[-1] else f"{texts[0]} to {texts[1]}"


def _range_note(blocks: Sequence[Block]) -> str:
    return "; a range is over the models" if len({block.model for block in blocks}) > 1 else ""


def _linears(cells: Sequence[Cell]) -> str:
    """Which linear layers LoRA is on, where the recipe names them."""
    for cell in cells:
        method = cell.config.get("method")
        targets = method.get("target_modules") if isinstance(method, dict) else None
        if isinstance(targets, list | tuple):
            return ", ".join(map(str, targets))
    return ""


def _list(texts: Iterable[str]) -> str:
    return ", ".join(dict.fromkeys(texts))
