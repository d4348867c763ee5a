"""What soft prompts are worth, whoever trained them: held-out loss and answers by codetune, answers by PEFT's batched generation."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from bench.material import STYLE
from bench.turns import measured
from codetune.batches import collate, make_rows
from codetune.config import DecodingConfig
from codetune.data.benchmarks import Benchmark
from codetune.data.encode import encode_prompt
from codetune.data.tokenise import TokenisedExamples
from codetune.evaluate import answer, request, score_samples
from codetune.generate.engine import OwnEngine, written
from codetune.generate.request import Engine, Generated, Report, Request
from codetune.methods import Adapted, load_adapter
from codetune.models.forward import summed_loss
from codetune.models.load import LoadedModel, load_model
from codetune.prompts.template import make_template
from codetune.score.execution import Checker

BENCHMARK = "basics-known"
ROWS_PER_PASS = 4
METRICS = ("bleu", "syntax_valid")


@dataclass(frozen=True, slots=True)
class Written:
    """An engine whose answers are there already, as token ids in the order of the requests: what PEFT wrote is read like codetune's own."""

    loaded: LoadedModel
    ids: Sequence[list[int]]
    name: str = "peft"

    def room(self, request: Request) -> int | None:
        return None

    def generate(self, requests: Sequence[Request], decoding: DecodingConfig, report: Report | None = None) -> list[Generated]:
        """Raises ValueError where there are not as many answers as requests."""
        tokenizer, made = self.loaded.tokenizer, list[Generated]()
        for one, ids in zip(requests, self.ids, strict=True):
            prompt = encode_prompt(one.prompt, tokenizer, one.has_special)
            made.append(written(one, 0, prompt, list(ids), "eos" if ids[-1:] == [tokenizer.eos_id] else "length", tokenizer))
        return made


def held_out_loss(adapted: Adapted, loaded: LoadedModel, examples: TokenisedExamples, row_tokens: int) -> float:
    """Mean loss per supervised token, packed exactly: the same computation for every adapter."""
    rows = make_rows(examples, "exact", row_tokens, range(len(examples)))
    total, count = 0.0, 0
    adapted.root.eval()
    with torch.no_grad():
        for start in range(0, len(rows), ROWS_PER_PASS):
            batch = collate(examples, [rows[index] for index in range(start, min(len(rows), start + ROWS_PER_PASS))], "exact")
            total += float(summed_loss(adapted, loaded.family, batch))
            count += batch.num_targets
    return total / count


def peft_answers(
    python: Path, model: Path, adapters: Mapping[str, Path], benchmark: Benchmark, decoding: DecodingConfig
) -> dict[str, dict[str, Any]]:
    """By adapter: PEFT's answers as ids with its CPU seconds, or under `failed` what it raised. One process for all."""
    tokenizer, template = load_model(str(model)).tokenizer, make_template(STYLE)
    asked = [request(template, problem) for problem in benchmark.problems]
    job = {
        "model": str(model), "adapters": {name: str(folder) for name, folder in adapters.items()},
        "prompts": [encode_prompt(one.prompt, tokenizer, one.has_special) for one in asked],
        "max_new_tokens": decoding.max_new_tokens, "batch_size": decoding.batch_size,
    }  # fmt: skip
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "job.json"
        path.write_text(json.dumps(job))
        return measured(python, "bench.peer_generate", str(path))


def judge(
    model: Path, adapter: Path | None, held_out: TokenisedExamples, benchmark: Benchmark, decoding: DecodingConfig, by_peft: dict[str, Any],
    sandbox: Checker, row_tokens: int,
) -> dict[str, Any]:  # fmt: skip
    """Held-out loss, and the scores of both engines' answers of one adapter (None: of the base model), with how many answers agree."""
    loaded = load_model(str(model))
    adapted = Adapted(loaded.model, "base") if adapter is None else load_adapter(loaded.model, adapter)
    found: dict[str, Any] = {"held_out_loss": held_out_loss(adapted, loaded, held_out, row_tokens)}
    begun = time.process_time()
    found["own"], own = _scored(OwnEngine(loaded, adapted), benchmark, decoding, sandbox)
    found["own"]["cpu_seconds"] = time.process_time() - begun  # the sandbox's programs are processes of their own
    if "ids" in by_peft:
        found["peft"], theirs = _scored(Written(loaded, by_peft["ids"]), benchmark, decoding, sandbox)
        found["peft"]["cpu_seconds"] = by_peft["cpu_seconds"]
        found["same_answers"] = sum(a == b for a, b in zip(own, theirs, strict=True)) / len(own)
    elif "failed" in by_peft:
        found["peft"] = {"failed": by_peft["failed"]}
    return found


def _scored(engine: Engine, benchmark: Benchmark, decoding: DecodingConfig, sandbox: Checker) -> tuple[dict[str, Any], list[str]]:
    """The scores, and the answers' texts."""
    answers = answer(engine, benchmark, make_template(STYLE), decoding)
    scores = score_samples(benchmark, answers.samples, sandbox, ks=[1], metrics=METRICS)
    found: dict[str, Any] = {"pass": scores.pass_at_k["1"], "pass_ci95": list(scores.pass_at_k_ci95["1"])}
    found |= {**scores.metrics, "sandbox_tier": scores.sandbox_tier, "finish": answers.generation["finish"]}
    texts = [sample.solution or sample.completion or "" for sample in answers.samples]
    return found, texts
