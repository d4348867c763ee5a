"""Folders as codetune writes them, with invented figures: runs, prepared data, scores."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from codetune.config import TrainRecipe


def write_json(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value), encoding="utf-8")


def write_rows(path: Path, rows: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def make_run(folder: Path, done: bool = True, checkpoint: bool = False, **settings: Any) -> Path:
    """A run of twenty steps; one that is not done has the first ten."""
    tree = {"name": folder.name, "model": "codetune-base", "data": {"source": "basics"}, "method": {"name": "lora"}} | settings
    write_json(folder / "config.json", TrainRecipe.model_validate(tree).model_dump(mode="json"))
    steps = range(1, 21 if done else 11)
    rows: list[dict[str, Any]] = [{"step": step, "tokens": 100 * step, "loss": 2.0 - 0.05 * step} for step in steps]
    rows[-1]["val_loss"] = 1.25
    write_rows(folder / "metrics.jsonl", rows)
    if done:
        result = {"best_val_loss": 1.25, "first_loss": 1.95, "last_loss": 1.0, "seconds": 60.0, "model_hash": "abc"}
        write_json(folder / "train.json", result)
        write_json(folder / "adapter" / "adapter_config.json", {"peft_type": "LORA", "base_model_name_or_path": "codetune-base"})
        (folder / "adapter" / "adapter_model.safetensors").write_bytes(b"0" * 1000)
    if checkpoint:
        (folder / "checkpoint" / "step-000010").mkdir(parents=True)
        (folder / "checkpoint" / "step-000010" / "state.pt").write_bytes(b"0" * 5000)
    return folder


def make_scores(folder: Path, passed: list[bool], benchmark: str = "own") -> Path:
    """What `codetune evaluate --out` leaves, with one sample for each problem."""
    rows = [{"task_id": str(at), "index": 0, "result": {"verdict": "passed" if each else "wrong_answer"}} for at, each in enumerate(passed)]
    write_rows(folder / f"scores-{benchmark}.jsonl", rows)
    write_rows(folder / f"samples-{benchmark}.jsonl", [{"task_id": row["task_id"], "completion": "x"} for row in rows])
    summary = {"num_problems": len(passed), "pass_at_k": {"1": sum(passed) / len(passed)}, "metrics": {}, "benchmark_sha256": "a" * 64}
    write_json(folder / "result.json", {"model": "codetune-base", "benchmarks": {benchmark: summary}})
    return folder


def make_data(folder: Path) -> Path:
    splits = {"train": {"documents": 40, "files": []}, "validation": {"documents": 2, "files": []}}
    manifest = {"format": "codetune-data", "name": folder.name, "splits": splits, "sources": [{"source": "conala"}], "recipe": {"seed": 0}}
    write_json(folder / "manifest.json", manifest)
    (folder / "train-00000.parquet").write_bytes(b"0" * 300)
    return folder
