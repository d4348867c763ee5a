"""Builds an invented study folder, for tests of the report and for looking at its design. No number in it was measured.

`python tests/study/study_fixture.py DIR` writes one, with its report, to look at in a browser.
"""

from __future__ import annotations

import json
import keyword
import math
import random
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from codetune.records import to_json
from codetune.score.bleu import CONALA, bleu, sentence_bleu
from codetune.score.statistics import wilson_interval
from codetune.study.gates import (
    GenerationMeasurements,
    OverlapMeasurements,
    QualityMeasurements,
    TrainingMeasurements,
    generation_gates,
    overlap_gate,
    quality_gates,
    training_gates,
)

HOSTILE = "</code></pre><script>alert('owned')</script><img src=x onerror=alert(1)>\n"

_REFERENCES = (
    ("keep_above", "Write a function `{name}(numbers)` that returns the numbers greater than {k}, in their order.",
     "def {name}(numbers):\n    return [n for n in numbers if n > {k}]\n"),
    ("count_words", "Write a function `{name}(text)` that counts the words of at least {k} letters.",
     "def {name}(text):\n    return sum(len(word) >= {k} for word in text.split())\n"),
    ("rotate", "Write a function `{name}(items)` that rotates the list {k} places to the left.",
     "def {name}(items):\n    if not items:\n        return []\n    shift = {k} % len(items)\n    return items[shift:] + items[:shift]\n"),
    ("most_common", "Write a function `{name}(words)` that returns the {k} most frequent words, ties in alphabetical order.",
     "from collections import Counter\n\ndef {name}(words):\n    counts = Counter(words)\n"
     "    ranked = sorted(counts, key=lambda word: (-counts[word], word))\n    return ranked[:{k}]\n"),
    ("add_days", "Write a function `{name}(day)` that gives the ISO date {k} days after the ISO date `day`.",
     "from datetime import date, timedelta\n\ndef {name}(day):\n    return (date.fromisoformat(day) + timedelta(days={k})).isoformat()\n"),
    ("chunks", "Write a function `{name}(items)` that splits a list into pieces of {k}.",
     "def {name}(items):\n    return [items[i:i + {k}] for i in range(0, len(items), {k})]\n"),
)  # fmt: skip


@dataclass(frozen=True)
class Way:
    """One row of the invented study."""

    row: str
    method: str
    known: float  # pass rates
    unseen: float
    learning_rate: float = 0.0
    share: float = 0.0
    seconds: float = 0.0
    memory_bytes: int = 1_100_000_000
    adapter_bytes: int = 0
    final_loss: float = 0.0


WAYS = (
    Way("base", "base", 0.03, 0.02),
    Way("base few-shot", "base", 0.07, 0.05),
    Way("full", "full", 0.82, 0.14, 5e-4, 1.0, 64.0, 2_310_000_000, 40_100_000, 0.11),
    Way("lora", "lora", 0.68, 0.12, 2e-3, 0.0631, 71.0, 2_050_000_000, 1_710_000, 0.19),
    Way("prefix_tuning", "prefix_tuning", 0.16, 0.06, 1e-2, 0.0081, 58.0, 1_920_000_000, 330_000, 0.74),
    Way("prompt_tuning", "prompt_tuning", 0.05, 0.03, 1e-2, 0.00051, 61.0, 1_880_000_000, 21_000, 1.12),
)
_WRONG = (("wrong_answer", "assert {name}([3, 9]) == [9]"), ("exception", "TypeError: 'int' object is not iterable"),
          ("syntax_error", "invalid syntax (line 2)"), ("timeout_cpu", "no answer within 5 s"))  # fmt: skip


def build_study(folder: Path, seeds: int = 1, problems: int = 300, ways: tuple[Way, ...] = WAYS) -> Path:
    """Two execution benchmarks, one model, one data set; `seeds` training seeds for rows that train."""
    benchmarks = {name: _problems(name, problems) for name in ("basics-known", "basics-unseen")}
    recipe = {
        "name": "quickstart", "models": ["codetune-base"], "data": [{"source": "basics", "prompt_style": "instruction"}],
        "methods": [{"name": way.method, "label": ""} for way in ways if way.share], "seeds": list(range(seeds)),
        "benchmarks": list(benchmarks), "few_shot": 3,
    }  # fmt: skip
    _write_json(folder / "study.json", recipe)
    for name, rows in benchmarks.items():
        _write_rows(folder / f"problems-{name}.jsonl", rows)
    for number, way in enumerate(ways):
        for seed in range(seeds if way.share else 1):
            _cell(folder / "cells" / f"{number}{seed}c0ffee", way, seed, benchmarks)
    return folder


def _cell(path: Path, way: Way, seed: int, benchmarks: dict[str, list[dict[str, Any]]]) -> None:
    random_ = random.Random(f"{way.row}/{seed}")
    name = {"model": "codetune-base", "method": way.method, "row": way.row, "data": "basics", "seed": seed}
    _write_json(path / "cell.json", {**name, "train": {"train_tokens": 600_000, "batch_tokens": 4096}, "decoding": {"temperature": 0.0}})
    curve = _curve(way, random_) if way.share else []
    if curve:
        _write_rows(path / "metrics.jsonl", curve)
    results = {}
    for benchmark, problems in benchmarks.items():
        rate = way.known if benchmark == "basics-known" else way.unseen
        scores = [_score(problem, rate, way, random_) for problem in problems]
        if benchmark == "basics-known" and way.row == "base":
            scores[0]["program"] = HOSTILE
            scores[-1]["program"] = "x = 1\n" * 700
        _write_rows(path / f"scores-{benchmark}.jsonl", scores)
        _write_rows(path / f"samples-{benchmark}.jsonl", [_sample(score) for score in scores])
        results[benchmark] = _summary(scores, {problem["task_id"]: problem["reference"] for problem in problems})
    _write_json(path / "result.json", _result(name, way, curve, results))


def _problems(benchmark: str, count: int) -> list[dict[str, Any]]:
    random_ = random.Random(benchmark)
    rows = []
    for number in range(count):
        family, instruction, reference = _REFERENCES[number % len(_REFERENCES)]
        words = {"name": f"{family}_{number}", "k": random_.randint(1, 9)}
        rows.append({"task_id": f"{benchmark}/{number}", "instruction": instruction.format(**words),
                     "reference": reference.format(**words), "family": family})  # fmt: skip
    return rows


def _score(problem: dict[str, Any], rate: float, way: Way, random_: random.Random) -> dict[str, Any]:
    # Problems differ in difficulty alike for every row, so that paired differences have something to gain.
    ease = random.Random(problem["task_id"]).gauss(0, 0.9)
    passed = random_.random() < 1 / (1 + math.exp(-(math.log(rate / (1 - rate)) * 1.25 + ease)))
    name = problem["reference"].split("def ")[1].split("(")[0]
    verdict, detail = ("passed", "") if passed else random_.choices(_WRONG, (5, 3, 1 + 3 * (way.share == 0), 0.3))[0]
    program = _variation(problem["reference"], 0.05 if passed else 0.75 - 0.5 * rate, random_)
    if verdict == "syntax_error":
        program = program.replace("return", "return (", 1)
    bleu = sentence_bleu(program, [problem["reference"]])
    metrics = {"sentence_bleu": bleu, "codebleu": 0.2 + 0.75 * bleu, "rouge_l": min(1.0, bleu + 0.1 * (1 - bleu)),
               "syntax_valid": float(verdict != "syntax_error")}  # fmt: skip
    result = {"verdict": verdict, "detail": detail.format(name=name), "tests_passed": 3 * passed, "tests_run": 3, "seconds": 0.01,
              "integrity": "strong", "stdout": ""}  # fmt: skip
    return {"task_id": problem["task_id"], "index": 0, "program": program, "result": result, "metrics": metrics}


def _variation(program: str, share: float, random_: random.Random) -> str:
    """The program with a share of its words replaced: something to compare, never to run."""
    others = ("items", "value", "result", "index", "total", "1", "0", "sorted", "len", "x")
    return re.sub(r"\b[a-z_0-9]{1,12}\b", lambda word: word[0] if keyword.iskeyword(word[0]) or random_.random() > share
                  else random_.choice(others), program)  # fmt: skip


def _sample(score: dict[str, Any]) -> dict[str, Any]:
    return {"task_id": score["task_id"], "completion": score["program"], "solution": None, "index": 0, "finish": "eos", "num_tokens": 40,
            "raw": score["program"]}  # fmt: skip


def _curve(way: Way, random_: random.Random) -> list[dict[str, Any]]:
    rows = []
    for step in range(1, 147):
        loss = way.final_loss + (1.9 - way.final_loss) * math.exp(-step / 22)
        row = {"step": step, "tokens": 4096 * step, "loss": loss * random_.uniform(0.86, 1.14), "lr": way.learning_rate, "grad_norm": 0.5,
               "seconds": way.seconds * step / 146, "tokens_per_s": 600_000 / way.seconds}  # fmt: skip
        if step % 29 == 1:
            row["val_loss"] = loss * 1.06
        rows.append(row)
    return rows


def _summary(scores: list[dict[str, Any]], references: dict[str, str]) -> dict[str, Any]:
    count = len(scores)
    verdicts: dict[str, int] = {}
    for score in scores:
        verdicts[score["result"]["verdict"]] = verdicts.get(score["result"]["verdict"], 0) + 1
    interval = wilson_interval(verdicts.get("passed", 0), count)
    metrics = {name: sum(score["metrics"][name] for score in scores) / count for name in ("codebleu", "rouge_l", "syntax_valid")}
    metrics = {"bleu": bleu([(score["program"], [references[score["task_id"]]]) for score in scores]), **metrics}
    return {
        "num_problems": count, "num_samples": count, "pass_at_k": {"1": interval.value},
        "pass_at_k_ci95": {"1": [interval.low, interval.high]},
        "verdicts": verdicts, "sandbox_tier": "T1: landlock+seccomp+rlimits", "metrics": metrics,
        "signatures": {"bleu": CONALA.signature, "codebleu": "codebleu|weights:1/4|tok:white space"},
        "generation": {"seconds": 21.4, "tokens": 12_000, "finish": {"eos": count}, "prompt_style": "instruction", "batch_size": 32,
                       "decoding": {"temperature": 0.0, "top_p": 1.0, "n": 1, "max_new_tokens": 256, "stop": ["\n### "]}},
    }  # fmt: skip


def _result(name: dict[str, Any], way: Way, curve: list[dict[str, Any]], benchmarks: dict[str, Any]) -> dict[str, Any]:
    train = {
        "seconds": way.seconds, "steps": 146, "tokens": 598_016, "supervised_tokens": 301_234, "tokens_per_s": 598_016 / way.seconds,
        "peak_memory_bytes": way.memory_bytes, "trainable_parameters": round(way.share * 8e6), "total_parameters": 8_000_000,
        "trainable_share": way.share, "adapter_bytes": way.adapter_bytes, "learning_rate": way.learning_rate,
        "first_loss": curve[0]["loss"], "last_loss": curve[-1]["loss"], "best_val_loss": way.final_loss * 1.06, "packing": "exact",
        "fill": 0.9985, "precision": "fp32",
    } if way.share else None  # fmt: skip
    gates = generation_gates(GenerationMeasurements(prompts=8, different=0))
    if way.share:
        gates += training_gates(TrainingMeasurements(
            trainable_tensors=75, unmoved_trainable_tensors=0, frozen_tensors=12, moved_frozen_tensors=0, losses=146, non_finite_losses=0,
            reload_difference=0.0, merge_difference=3.1e-7 if way.method == "lora" else None, adapter_effect=way.share, eos_label_share=1.0,
        ))  # fmt: skip
        gates += [overlap_gate(OverlapMeasurements(name, summary["num_problems"], 0), 0.0, False) for name, summary in benchmarks.items()]
    for benchmark, summary in benchmarks.items():
        metrics = summary["metrics"]
        gates += quality_gates(QualityMeasurements(
            benchmark, eos_share=0.97, empty_share=0.0, length_ratio=1.1, syntax_valid=metrics["syntax_valid"], bleu=metrics["bleu"],
            codebleu=metrics["codebleu"]))  # fmt: skip
    provenance = {"config_hash": "0123456789ab", "data_hash": "ba9876543210", "model_hash": "feedfacecafe", "seed": name["seed"],
                  "versions": {"codetune": "0.1.0", "torch": "2.13.0", "python": "3.11.2"},
                  "hardware": {"cpu": "an invented processor", "cores": 2, "accelerator": "none"}}  # fmt: skip
    return {"cell": name, "train": train, "benchmarks": benchmarks, "gates": to_json(gates), "peak_memory_bytes": way.memory_bytes,
            "provenance": provenance}  # fmt: skip


def _write_json(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=1), encoding="utf-8")


def _write_rows(path: Path, rows: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


if __name__ == "__main__":
    import sys

    from codetune.study.report import write_report

    print(write_report(build_study(Path(sys.argv[1]), seeds=int(sys.argv[2]) if len(sys.argv) > 2 else 1)).html)
