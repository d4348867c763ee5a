"""What the studies under runs/ say, as evidence: which method won, what could not be told apart, which learning rates a search found.

    findings, notes = own_findings([Path("runs")], Asked("codetune-base", "basics"))

Reads records alone, like a report: no torch.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from codetune.errors import UserError
from codetune.models.stages import read
from codetune.study.cells import Study, read_problems, read_study
from codetune.study.grounds import Evidence, Finding, Fit, Recommendation, Rival
from codetune.study.knobs import starting_train
from codetune.study.recommend import recommend
from codetune.study.summary import Block, Row, blocks_of

_ALIKE = 3.0  # sizes within this factor are of one class


@dataclass(frozen=True, slots=True)
class Asked:
    """What a recommendation is for. `family` is a `model_type`; `parameters` and `examples` are None where they are not known."""

    model: str
    data: str
    family: str = ""
    parameters: int | None = None
    examples: int | None = None
    benchmark: str = ""


def own_findings(
    places: Sequence[Path], asked: Asked, family_of: Callable[[str], str] = lambda model: ""
) -> tuple[list[Finding], list[str]]:
    """Findings that bear on what is asked, the closest first, and a line on each study that does not, or cannot be read."""
    found: list[Finding] = []
    notes = []
    for folder in sorted({path for place in places for path in _studies(place)}):
        try:
            study = read_study(folder)
        except UserError as error:
            notes.append(f"{folder} was not read: {error}")
            continue
        blocks = _blocks(study)
        new = [finding for block in blocks if (finding := finding_of(study, block, asked, family_of)) is not None]
        if blocks and not new:
            of = ", ".join(dict.fromkeys(f"{block.model} on {block.data}" for block in blocks))
            notes.append(f"{folder} says nothing here: it is of {of}" + (f", not on {asked.benchmark}" if asked.benchmark else ""))
        found += new
    return sorted(found, key=lambda one: (one.closeness, one.study, one.data)), notes


def finding_of(study: Study, block: Block, asked: Asked, family_of: Callable[[str], str] = lambda model: "") -> Finding | None:
    """One block of a study; None where it is of another kind of model, or has no trained row on the benchmark."""
    closeness = _closeness(study, block, asked, family_of)
    benchmark = asked.benchmark or next(iter(block.benchmarks), "")
    if closeness is None or benchmark not in block.benchmarks:
        return None
    rows = [row for row in block.rows if block.score(row, benchmark) is not None]
    rivals = _best_of_each([_rival(block, row, benchmark) for row in rows if not row.is_base and not any(c.brought for c in row.cells)])
    if not rivals:
        return None
    base = block.base
    wanted = {rival.row for rival in rivals} | ({base.label} if base else set())
    compared = [row for row in rows if row.label in wanted and not row.invalid_on(benchmark)]
    pairs = itertools.permutations(compared, 2)
    apart = {(one.label, other.label) for one, other in pairs if _beats(block, one, other, benchmark)}
    known = base.label if base is not None and base in compared else ""
    return Finding(
        str(study.path), block.model, block.data, benchmark, block.score_name(benchmark), tuple(rivals), frozenset(apart), closeness, known
    )


def advice_of(study: Study, block: Block | None = None) -> Recommendation | None:
    """The recipe to start from by this study alone, for its first block or the given one: what was measured stands in for forecasts.

    None where the block has no trained row with a valid score.
    """
    blocks = [block] if block is not None else _blocks(study)
    if not blocks:
        return None
    block = blocks[0]
    asked = Asked(block.model, block.data)
    finding = finding_of(study, block, asked)
    if finding is None:
        return None
    finding = dataclasses.replace(finding, study=study.name)  # not its folder: the same records give the same report
    by_label = {row.label: row for row in block.rows}
    fits = tuple(
        Fit(one.method, True, _whole(row.peak_memory_bytes), row.train_seconds, settings=_fitting(row), measured=True)
        for one in finding.rivals
        if not one.invalid and (row := by_label[one.row])
    )
    if not fits:
        return None
    train = starting_train([finding], ())
    return recommend(Evidence(block.model, block.data, "the study's machine", 0, fits, (finding,), train=train))


def _blocks(study: Study) -> list[Block]:
    names = dict.fromkeys(name for cell in study.cells for name in cell.benchmarks)
    return blocks_of(study, {name: read_problems(study.path, name) for name in names})


def _studies(place: Path) -> list[Path]:
    """Studies in a folder, and up to two folders below it."""
    return [path.parent for pattern in ("cells", "*/cells", "*/*/cells") for path in place.glob(pattern) if path.is_dir()]


def _beats(block: Block, one: Row, other: Row, benchmark: str) -> bool:
    gap = block.difference(one, other, benchmark)
    return gap is not None and gap.distinct and gap.mean > 0


def _rival(block: Block, row: Row, benchmark: str) -> Rival:
    score, cell = block.score(row, benchmark), row.cells[0]
    assert score is not None  # asked before
    recipe = read(cell.path / "config.json") or cell.config.get("train") or {}
    return Rival(
        row.label, cell.method, score.mean, len(row.seeds), cell.train.learning_rate if cell.train else None, cell.tuned,
        recipe.get("method") or {}, recipe.get("train") or {}, row.invalid_on(benchmark),
    )  # fmt: skip


def _best_of_each(rivals: Sequence[Rival]) -> list[Rival]:
    """For each method its best valid row, else its best row; in the order of the rows."""
    best: dict[str, Rival] = {}
    for rival in rivals:
        known = best.get(rival.method)
        if known is None or (not rival.invalid, rival.score) > (not known.invalid, known.score):
            best[rival.method] = rival
    return list(best.values())


def _closeness(study: Study, block: Block, asked: Asked, family_of: Callable[[str], str]) -> int | None:
    """Index into `grounds.CLOSENESS`; None where the study is of another kind of model."""
    cells = [cell for row in block.rows for cell in row.cells]
    names = {block.model} | {str(model.get("name")) for model in study.recipe.get("models", ()) if _called(model) == block.model}
    sources = {block.data} | {str(cell.factors["corpus"]) for cell in cells if cell.factors.get("corpus")}
    examples = next((count for cell in cells if (count := _examples(cell.path))), None)
    as_large = examples is not None and asked.examples is not None and alike(examples, asked.examples)
    named = asked.data in sources or Path(asked.data).stem in sources
    same_data = named and (as_large or examples is None or asked.examples is None)
    if asked.model in names:
        return 0 if same_data else 1 if as_large else 2
    parameters = next((cell.train.total_parameters for cell in cells if cell.train and cell.train.total_parameters), None)
    as_many = parameters is not None and asked.parameters is not None and alike(parameters, asked.parameters)
    if asked.family and as_many and asked.family in {family_of(name) for name in names}:
        return 3 if same_data else 4
    return None


def _called(model: object) -> str:
    return str(model.get("label") or model.get("name")) if isinstance(model, dict) else ""


def _examples(cell: Path) -> int | None:
    """How many examples a cell was trained on."""
    found = (read(cell / "train.json") or read(cell / "result.json").get("train") or {}).get("examples")
    return found if isinstance(found, int) else None


def alike(one: float, other: float) -> bool:
    """Whether two sizes are of one class."""
    return max(one, other) <= _ALIKE * min(one, other)


def _fitting(row: Row) -> dict[str, object]:
    """The settings that decide memory, as the row had them."""
    cell = row.cells[0]
    train = (read(cell.path / "config.json") or cell.config.get("train") or {}).get("train") or {}
    usual = {"micro_batch_size": 4, "activation_checkpointing": False}
    return {key: train[key] for key, value in usual.items() if key in train and train[key] != value}


def _whole(value: float | None) -> int | None:
    return None if value is None else int(value)
