"""Builds an invented study of several models, data sizes, seeds and searched rows, for tests of study-level figures. Nothing was measured.

`python tests/study/grid_fixture.py DIR` writes one, with its report, to look at in a browser.
"""

from __future__ import annotations

import math
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

from study_fixture import WAYS, Way, _problems, _result, _score, _summary, _write_json, _write_rows

MODELS = {"tiny": 8_000_000, "small": 36_000_000, "medium": 124_000_000}
SIZES = (250, 1000, 4000)
_INIT = {"prefix_tuning": "zeros", "prompt_tuning": "vocabulary"}


def build_grid(folder: Path, models: dict[str, int] = MODELS, sizes: tuple[int, ...] = SIZES, seeds: int = 3, problems: int = 40) -> Path:
    """Every model x method x size x seed of `WAYS`, a base row for each model, searched rows of `lora` and `prefix_tuning`."""
    benchmark = {"basics-known": _problems("basics-known", problems)}
    recipe = {
        "name": "grid", "models": list(models), "data": [{"source": "basics"}], "data_sizes": list(sizes),
        "methods": [{"name": way.method, "label": ""} for way in WAYS if way.share], "seeds": list(range(seeds)),
    }  # fmt: skip
    _write_json(folder / "study.json", recipe)
    _write_rows(folder / "problems-basics-known.jsonl", benchmark["basics-known"])
    for number, (model, parameters) in enumerate(models.items()):
        _write_cell(folder, model, parameters, replace(WAYS[0], known=0.03 + 0.05 * number), None, 0, benchmark)
        for way in WAYS[2:]:
            for size in sizes:
                for seed in range(seeds):
                    _write_cell(folder, model, parameters, _grown(way, parameters, size), size, seed, benchmark)
                    if way.method in ("lora", "prefix_tuning"):
                        better = _grown(way, parameters, size)
                        better = replace(better, row=f"{way.row} tuned", known=min(0.95, 1.1 * better.known))
                        _write_cell(folder, model, parameters, better, size, seed, benchmark)
    return folder


def _grown(way: Way, parameters: int, size: int) -> Way:
    """The way with more data and a larger model: better, slower, of a smaller share."""
    bigger, more = (parameters / 8e6) ** 0.5, (size / 4000) ** 0.35
    share = way.share if way.share == 1 else way.share / bigger
    return replace(way, known=min(0.93, way.known * more * bigger**0.25), share=share, seconds=way.seconds * bigger * (0.3 + 0.7 * more),
                   memory_bytes=round(way.memory_bytes * (0.6 + 0.4 * bigger)), final_loss=way.final_loss)  # fmt: skip


def _write_cell(
    folder: Path, model: str, parameters: int, way: Way, size: int | None, seed: int, benchmarks: dict[str, list[dict[str, Any]]]
) -> None:
    random_ = random.Random(f"{model}/{way.row}/{size}/{seed}")
    path = folder / "cells" / f"{way.row.replace(' ', '_')}-{model}-{size or 0}-{seed}"
    data = f"basics {size}" if size else "basics"
    name = {"model": model, "method": way.method, "row": way.row, "data": data, "seed": seed, "tuned": way.row.endswith(" tuned"),
            "factors": {"pretrained_on": "text", "corpus": "basics", "data_size": size}}  # fmt: skip
    _write_json(path / "cell.json", name)
    curve = _curve(way, _loss(way, parameters, size, random_), random_) if size else []
    if curve:
        _write_rows(path / "metrics.jsonl", curve)
    results = {}
    for benchmark, problems in benchmarks.items():
        scores = [_score(problem, way.known, way, random_) for problem in problems]
        _write_rows(path / f"scores-{benchmark}.jsonl", scores)
        results[benchmark] = _summary(scores, {problem["task_id"]: problem["reference"] for problem in problems})
    result = _result(name, way, curve, results)
    if size:
        kept = _loss(way, parameters, size, random_)
        result["train"] |= {"total_parameters": round(parameters * (1 + way.share * (way.share < 1))), "best_val_loss": kept}
        weights, held = 4 * parameters, 4 * parameters * way.share
        forecast = {"process": 6e8, "weights": weights, "gradients": held, "optimiser": 2 * held, "activations": 5 * weights,
                    "logits": 2e8, "generation": 6e8 + 2 * weights}  # fmt: skip
        result["measures"] = {
            "held_out_loss": kept, "held_out_bits_per_byte": kept * 0.42, "held_out_examples": 50, "memory_forecast_bytes": forecast,
            "memory_peak_bytes": {"training": 1.04 * (sum(forecast.values()) - forecast["generation"]), "generation": 7e8 + 2 * weights},
        }  # fmt: skip
        if way.row.endswith(" tuned"):
            result["train"]["search"] = _search(way, random_)
    _write_json(path / "result.json", result)


def _loss(way: Way, parameters: int, size: int | None, random_: random.Random) -> float:
    """A law of data and model size, with a little noise."""
    kept = (0.25 + way.final_loss) * ((size or 1) / 4000) ** -0.21 * (parameters / 8e6) ** -0.09
    return kept * math.exp(random_.gauss(0, 0.02))


def _curve(way: Way, final: float, random_: random.Random) -> list[dict[str, Any]]:
    rows = []
    for step in range(1, 147):
        loss = final + (2.6 - final) * math.exp(-step / 22)
        row = {"step": step, "tokens": 4096 * step, "loss": loss * random_.uniform(0.86, 1.14), "lr": way.learning_rate}
        if step % 29 == 1 or step == 146:
            row["val_loss"] = loss * 1.06
        rows.append(row)
    return rows


def _search(way: Way, random_: random.Random) -> dict[str, Any]:
    """Rates about the default, the highest of them failed, one cut short, another initialisation where the method has one."""
    trials = []
    settings: list[dict[str, Any]] = [{"learning_rate": way.learning_rate * factor} for factor in (1, 3, 0.3, 10, 30)]
    if way.method in _INIT:
        settings = [one | {"init": "text"} for one in settings] + [{"learning_rate": 3 * way.learning_rate, "init": _INIT[way.method]}]
        settings.append({"learning_rate": 10 * way.learning_rate, "init": _INIT[way.method]})
    for number, one in enumerate(settings):
        off = math.log10(one["learning_rate"] / way.learning_rate) - 0.5
        loss = (0.4 + way.final_loss) * (1 + 0.35 * off**2) * (1.08 if one.get("init") in _INIT.values() else 1) + 0.01 * random_.random()
        state = "failed" if one["learning_rate"] > 20 * way.learning_rate else "pruned" if number == 2 else "finished"
        failed = state == "failed"
        trials.append({"number": number, "settings": one, "state": state, "val_loss": None if failed else loss, "pass_rate": None,
                       "steps": 36, "tokens": 150_000, "seconds": 12.0, "cause": "a loss was NaN" if failed else ""})  # fmt: skip
    best = min((trial for trial in trials if trial["state"] == "finished"), key=lambda trial: trial["val_loss"])
    return {"monitor": "loss", "best": best, "default": trials[0], "spent": {"tokens": 150_000, "seconds": 60.0}, "trials": trials}


if __name__ == "__main__":
    import sys

    from codetune.study.report import write_report

    print(write_report(build_grid(Path(sys.argv[1]))).html)
