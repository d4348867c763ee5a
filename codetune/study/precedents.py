"""Published scores as evidence: those of a model, or of models as large; what fails a gate of ours is marked.

The figures and their sources are in `codetune.study.published`; which model a printed name means is in the recipes of those studies.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from codetune.config import METHOD_NAMES, load_tree, shipped_recipes
from codetune.study.gates import NEAR_ZERO_BLEU, SUSPICIOUS_CODEBLEU
from codetune.study.grounds import PublishedScore
from codetune.study.published import Figure, Published, published

_SCORES = ("bleu", "pass@1")  # the metrics that order methods here; CodeBLEU is .25 for empty answers, shares and memory are no scores


def precedents(model: str, is_alike: Callable[[str], bool]) -> tuple[list[PublishedScore], list[str]]:
    """Printed scores of the model and of those that `is_alike` says are as large, and lines on what is not known of them."""
    names = names_printed()
    found: list[PublishedScore] = []
    notes = []
    for study in dict.fromkeys(study for study, _ in names):
        table = published(study)
        mine = [each for each in table.figures if (name := names.get((study, each.model))) and (name == model or is_alike(name))]
        scores = [_score(table, each, names[study, each.model] == model) for each in mine if _is_score(each)]
        found += scores
        if mine and sum(not one.invalid for one in scores) < 2:
            notes.append(f"published ({table.title}): no two valid scores of {model} or a model as large are at hand; not known: "
                         f"{', '.join(table.not_known)}")  # fmt: skip
    return found, notes


def names_printed() -> Mapping[tuple[str, str], str]:
    """(study, model as it is printed) to the model's name, from the recipes that name a published study."""
    trees = [load_tree(path) for path in shipped_recipes().values()]
    return {
        (str(tree["published"]), str(model.get("label") or model["name"])): str(model["name"])
        for tree in trees if tree.get("published")
        for model in _models(tree) if "name" in model
    }  # fmt: skip


def _models(tree: Mapping[str, object]) -> list[dict[str, object]]:
    given = tree.get("models")
    return [each if isinstance(each, dict) else {"name": each} for each in (given if isinstance(given, list) else [given])]


def _is_score(figure: Figure) -> bool:
    """Whether it orders methods: a score with one value, of a row that is known to be of one method."""
    return figure.metric.rpartition(":")[2] in _SCORES and figure.row in METHOD_NAMES and figure.high is None


def _score(table: Published, figure: Figure, same_model: bool) -> PublishedScore:
    data, _, metric = figure.metric.rpartition(":")
    return PublishedScore(
        figure.model, figure.row, data, metric, 100 * figure.value, f"{table.title}: {figure.source}", same_model, _fault(table, figure)
    )


def _fault(table: Published, figure: Figure) -> str:
    """Which of our gates the row's printed figures do not pass; "" where none is known."""
    benchmark = figure.metric.rpartition(":")[0]
    row = {each.metric: each.value for each in table.figures if (each.model, each.row) == (figure.model, figure.row)}
    bleu, codebleu = row.get(f"{benchmark}:bleu"), row.get(f"{benchmark}:codebleu")
    if bleu is not None and bleu < NEAR_ZERO_BLEU and codebleu is not None and codebleu >= SUSPICIOUS_CODEBLEU:
        return f"CodeBLEU {codebleu:.2f} beside a BLEU of {bleu:g}: what empty completions get (gate codebleu_without_bleu)"
    if bleu == 0:
        return "a BLEU of 0: nothing that it wrote has anything of the references"
    return ""
