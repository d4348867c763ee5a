"""The head of a model card, as the Hugging Face hub reads it: base, licence, data sets, tags, scores."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from codetune.data.sources.registry import SOURCES
from codetune.export.tuned import Tuned
from codetune.models.names import ALIASES, SHIPPED

_TASK = "text-generation"
_HUB_BENCHMARKS = {
    "humaneval": "openai/openai_humaneval", "mbpp": "google-research-datasets/mbpp", "conala": "neulab/conala",
    "humanevalplus": "evalplus/humanevalplus", "mbppplus": "evalplus/mbppplus",
}  # fmt: skip


def front_matter(tuned: Tuned, base: str, whole: bool) -> str:
    """YAML without its fences. What is not known is left out, and the scores where a gate says that they are wrong."""
    from huggingface_hub import EvalResult, ModelCardData

    source = SOURCES.get(tuned.recipe.get("data", {}).get("source", ""))
    on_hub = hub_id(base)
    valid = all(gate.level != "invalid" for gate in tuned.gates)
    results = [EvalResult(_TASK, *score) for score in _scores(tuned)] if valid else []
    data = ModelCardData(
        license=licence_of(base),
        library_name="transformers" if whole else "peft",
        pipeline_tag=_TASK,
        base_model=on_hub or None,
        base_model_relation=("finetune" if whole else "adapter") if on_hub else None,
        datasets=[source.hub.repository] if source and source.hub else None,
        tags=["code", "codetune", tuned.method.replace("_", "-")],
        model_name=tuned.name if results else None,
        eval_results=results or None,
    )
    return data.to_yaml().strip()


def hub_id(base: str) -> str:
    """A model's name on the hub; "" for a folder, or the model that ships with codetune."""
    if base in ALIASES:
        return ALIASES[base]
    return base if base.count("/") == 1 and not base.startswith((".", "/", "~")) and not Path(base).is_dir() else ""


def licence_of(base: str) -> str | None:
    """The licence that the base's own card names, where that card is on this machine."""
    from huggingface_hub import ModelCard, try_to_load_from_cache

    if name := hub_id(base):
        cached = try_to_load_from_cache(name, "README.md")
        path = Path(cached) if isinstance(cached, str) else None
    else:
        path = SHIPPED.get(base, Path(base)) / "README.md" if base else None
    if path is None or not path.is_file():
        return None
    try:
        found = ModelCard(path.read_text(encoding="utf-8"), ignore_metadata_errors=True).data.get("license")
    except ValueError:
        return None
    return found if isinstance(found, str) else None


def _scores(tuned: Tuned) -> Iterator[tuple[str, str, str, float]]:
    """(data set, its name, metric, value) of every score that was recorded."""
    for result in tuned.results:
        for name, found in result["benchmarks"].items():
            where = _HUB_BENCHMARKS.get(name, name)
            for k, share in found.get("pass_at_k", {}).items():
                yield where, name, f"pass@{k}", share
            for metric, value in found.get("metrics", {}).items():
                if value is not None:
                    yield where, name, metric, value
