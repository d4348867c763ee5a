"""One cell of a study, in a process of its own: train, reload, generate, score, gate, and write `result.json` last.

    python -m codetune.study.run runs/<study>/cells/<key>/cell.json
    python -m codetune.study.run runs/<study>/searches/<key>/job.json

A process per cell, because a process' peak memory never falls again: one like this, or forked (`codetune.study.nursery`). Progress goes
to stdout as JSON lines; a mistake of the user's is the line {"error": ...} and exit code 2.
"""

from __future__ import annotations

import contextlib
import ctypes
import dataclasses
import itertools
import json
import shutil
import signal
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

from codetune.config import DecodingConfig
from codetune.data.benchmarks import Benchmark
from codetune.data.benchmarks import load as load_benchmark
from codetune.data.files import use_root
from codetune.data.overlap.training_overlap import TrainingOverlap
from codetune.data.training import training_data
from codetune.errors import TERMINATED, Terminated, UserError, terminate_in_order
from codetune.evaluate import Answers, Scores, answer, request, score_samples
from codetune.generate.engine import OwnEngine
from codetune.methods import Adapted
from codetune.models.energy import open_meter, total_of
from codetune.models.load import LoadedModel
from codetune.models.machine import computed_in, hardware, peak_memory_bytes, process_bytes, reset_peak
from codetune.models.merge import merge_in_place
from codetune.models.open import open_model
from codetune.models.stages import tuned_hash
from codetune.once import keep_results
from codetune.prompts.template import Template
from codetune.records import Document, Json, Verdict, to_json
from codetune.runs import read_json, read_rows, write_json, write_rows
from codetune.score.execution import Checker
from codetune.score.verdicts import open_checker
from codetune.study.cell_evidence import CellEvidence
from codetune.study.diagnosis import diagnose
from codetune.study.gates import (
    Gate,
    GenerationMeasurements,
    OverlapMeasurements,
    QualityMeasurements,
    TrainingMeasurements,
    generation_gates,
    overlap_gate,
    quality_gates,
    training_gates,
)
from codetune.study.measuring import Answered, Subject, measure
from codetune.study.plan import JOB, RESULT, CellConfig, SearchJob, limited
from codetune.study.settle import named, run_search, settled, take_over
from codetune.train.checks import difference, probe_batch, probe_logits
from codetune.train.finetune import finetune
from codetune.train.material import prepare
from codetune.train.resume import CHECKPOINT, Progress
from codetune.train.run import METRICS
from codetune.train.subject import ADAPTER, reload

INVARIANCE_PROMPTS = 8
INVARIANCE_TOKENS = 32


def run_cell(cell: CellConfig) -> None:
    """Everything that one row of a table stands on. What is finished already (training, answers) is not done again."""
    use_root(cell.data.root)
    process_bytes()  # of a forecast: what the libraries hold before there is a model
    recipe, notes = settled(cell)
    if cell.same_if_default is not None and notes["search"]["best"]["number"] == 0 and take_over(cell, notes):
        return
    summary = finetune(recipe, cell.folder, _training_report(), _warn, notes=notes) if recipe else None
    cell = cell.model_copy(update={"train": recipe})
    loaded, adapted = reload(recipe, cell.folder) if recipe else open_model(cell.model, cell.adapter)
    template = _template(cell, loaded)
    answered: dict[str, Answered] = {}
    quality: list[QualityMeasurements] = []
    benchmarks = [limited(load_benchmark(name), cell.max_problems) for name in cell.benchmarks]
    gates = _training_gates(cell, summary, loaded, adapted)
    if cell.inference == "bf16":
        adapted.root.bfloat16()
    engine = OwnEngine(loaded, adapted)
    overlap = _overlap(cell)
    if overlap is not None:
        gates += _overlap_gates(cell, overlap, benchmarks)
    peak = peak_memory_bytes()
    reset_peak()
    with open_checker() as sandbox:
        for benchmark in benchmarks:
            done = answered[benchmark.name] = _evaluate(cell, engine, benchmark, template, sandbox)
            quality.append(_quality(benchmark, done.answers, done.scores, loaded))
            gates += quality_gates(quality[-1])
        _say("measuring", 0, 1)
        invariance = _invariance(benchmarks[0], engine, template)
        gates += generation_gates(invariance)
        peak = max(peak, peak_memory_bytes())  # what is measured besides is no part of it
        measures = measure(Subject(cell, loaded, engine, template, sandbox, answered, summary, _say))
    results = {name: done.scores.summary() | {"generation": done.answers.generation} for name, done in answered.items()}
    found: Json = {} if overlap is None else {"train_test_overlap": overlap.summary()}
    found |= {"peak_memory_bytes": peak, "measures": to_json(measures)}
    evidence = {"invariance": to_json(invariance), "quality": {each.benchmark: to_json(each) for each in quality}}
    curve = list(read_rows(cell.folder / METRICS)) if recipe else []
    found |= {"evidence": evidence, "diagnosis": to_json(diagnose(CellEvidence(gates, summary or {}, curve, results, evidence)))}
    write_json(cell.folder / RESULT, _result(cell, summary, results, gates) | found)
    shutil.rmtree(cell.folder / CHECKPOINT, ignore_errors=True)  # of a bad step: at another rate it is another cell


def _template(cell: CellConfig, loaded: LoadedModel) -> Template:
    """The data's prompt style; for the few-shot row with the first training problems as worked examples."""
    return loaded.template(cell.data.prompt_style, [document.problem for document in _shown(cell)])


def _evaluate(cell: CellConfig, engine: OwnEngine, benchmark: Benchmark, template: Template, sandbox: Checker) -> Answered:
    """Answers and scores of one benchmark, kept as rows beside the result, with the energy that answering took."""
    meter, started, used = open_meter(), time.perf_counter(), list[float | None]()

    def answering(count: int, total: int) -> None:
        used.append(meter.lap())  # often, so that no counter comes round twice
        _say("answering " + benchmark.name, count, total)

    answers = answer(engine, benchmark, template, cell.decoding, answering)
    energy = {"energy_j": total_of([*used, meter.lap()]), "energy_source": meter.source}
    answers = dataclasses.replace(answers, generation=answers.generation | energy)
    write_rows(cell.folder / f"samples-{benchmark.name}.jsonl", answers.rows())
    done = [0]

    def scored(count: int) -> None:
        done[0] += count
        _say("running " + benchmark.name, done[0], len(answers.samples))

    scores = score_samples(benchmark, answers.samples, sandbox, on_result=scored)
    if Verdict.INFRASTRUCTURE in scores.verdicts:  # a cell is done when all of it is measured
        raise UserError(f"{benchmark.name}: {'; '.join(scores.notices)}")
    write_rows(cell.folder / f"scores-{benchmark.name}.jsonl", map(to_json, scores.samples))
    return Answered(benchmark, answers, scores, time.perf_counter() - started)


def _training_gates(cell: CellConfig, summary: Json | None, loaded: LoadedModel, adapted: Adapted) -> list[Gate]:
    """What training measured of itself, and whether merging changes anything."""
    if summary is None or cell.train is None:
        return []
    checks = dict(summary["checks"])
    if "tuned_hash" in summary:
        checks["saved_files_differ"] = int(tuned_hash(cell.folder / ADAPTER) != summary["tuned_hash"])
    if adapted.merges:
        checks["merge_difference"] = _merge_difference(cell, loaded, adapted)
    return training_gates(TrainingMeasurements.of(checks))


def _overlap(cell: CellConfig) -> TrainingOverlap | None:
    """What overlaps the benchmarks in the data that the row was trained with, or in the examples of its prompt; None where it has none."""
    if cell.train is None and not cell.few_shot:
        return None
    overlap = training_data(cell.data, cell.decontaminate).overlap
    if cell.train is None and not overlap.left_out:
        return overlap.among({document.id for document in _shown(cell)})
    return overlap


def _shown(cell: CellConfig) -> list[Document]:
    """The worked examples in the prompt of the few-shot row: the first pairs of the training data."""
    if not cell.few_shot:
        return []
    pairs = (each for each in training_data(cell.data, cell.decontaminate).documents() if each.kind == "pair")
    found = list(itertools.islice(pairs, cell.few_shot))
    if not found:
        raise UserError(f"few_shot={cell.few_shot}: {cell.data.source} has no pairs to show in a prompt; set few_shot to 0")
    return found


def _overlap_gates(cell: CellConfig, overlap: TrainingOverlap, benchmarks: list[Benchmark]) -> list[Gate]:
    """For each benchmark whether what was asked is in the data. What was left out is not."""
    gates = []
    for name, benchmark in zip(cell.benchmarks, benchmarks, strict=True):
        asked = {problem.task_id for problem in benchmark.problems}
        seen = set[str]() if overlap.left_out else overlap.tasks(benchmark.name) & asked
        measured = OverlapMeasurements(name, len(asked), len(seen))
        gates.append(overlap_gate(measured, cell.decontaminate.max_overlap, cell.decontaminate.publish_anyway))
    return gates


def _merge_difference(cell: CellConfig, loaded: LoadedModel, adapted: Adapted) -> float:
    """Relative difference of logits between adapter and merged weights, on a fresh copy: the one that answers stays unmerged."""
    assert cell.train is not None
    probe = probe_batch(prepare(cell.train, loaded).examples)
    before = probe_logits(adapted, loaded.family, probe)
    again, copy = reload(cell.train, cell.folder)
    merge_in_place(copy)
    return difference(probe_logits(copy, again.family, probe), before)


def _invariance(benchmark: Benchmark, engine: OwnEngine, template: Template) -> GenerationMeasurements:
    """Greedy answers to a few prompts, each alone and all in one batch."""
    requests = [request(template, problem) for problem in benchmark.problems[:INVARIANCE_PROMPTS]]
    alone = engine.generate(requests, DecodingConfig(max_new_tokens=INVARIANCE_TOKENS, batch_size=1))
    together = engine.generate(requests, DecodingConfig(max_new_tokens=INVARIANCE_TOKENS, batch_size=INVARIANCE_PROMPTS))
    different = sum(one.text != other.text for one, other in zip(alone, together, strict=True))
    return GenerationMeasurements(len(requests), different, computed_in(engine.adapted.model), engine.adapted.num_virtual_tokens)


def _quality(benchmark: Benchmark, answers: Answers, scores: Scores, loaded: LoadedModel) -> QualityMeasurements:
    written = [sample.solution if sample.solution is not None else sample.completion or "" for sample in answers.samples]
    references = {problem.task_id: problem.reference for problem in benchmark.problems}
    expected = sum(len(references[sample.task_id]) for sample in answers.samples)
    limit = answers.generation["decoding"]["max_new_tokens"]
    cut = sum(len(loaded.tokenizer.encode_continuation(reference)) > limit for reference in references.values())
    return QualityMeasurements(
        benchmark.name,
        eos_share=answers.generation["finish"].get("eos", 0) / len(written),
        empty_share=sum(not text.strip() for text in written) / len(written),
        length_ratio=sum(map(len, written)) / expected if expected else None,
        syntax_valid=scores.metrics.get("syntax_valid"),
        bleu=scores.metrics.get("bleu"),
        codebleu=scores.metrics.get("codebleu"),
        references_cut=cut / len(references) if expected else None,
    )


def _result(cell: CellConfig, summary: Json | None, results: dict[str, Json], gates: list[Gate]) -> Json:
    names = ("codetune", "torch", "transformers", "peft", "tokenizers", "tree-sitter", "tree-sitter-python")
    return {
        "cell": named(cell),
        "evaluation_hash": cell.evaluation_hash,
        "train": summary,
        "benchmarks": results,
        "gates": [to_json(gate) for gate in gates],
        "provenance": {
            "config_hash": cell.key, "data_hash": cell.hashes["data"], "model_hash": cell.hashes["model"],
            "benchmark_hashes": cell.hashes["benchmarks"], "seed": cell.seed, "versions": {name: version(name) for name in names},
            "hardware": hardware(),
        },
    }  # fmt: skip


def _training_report() -> Any:
    last = [0.0]

    def report(progress: Progress, steps: int) -> None:
        if time.monotonic() - last[0] > 0.5 or progress.step == steps:
            last[0] = time.monotonic()
            rate = progress.tokens / progress.seconds if progress.seconds else 0.0
            _say("training", progress.step, steps, f"loss {progress.last_loss or 0.0:.3f}, {rate:,.0f} tokens/s")

    return report


def _say(stage: str, done: int, total: int, note: str = "") -> None:
    print(json.dumps({"stage": stage, "done": done, "total": total, "note": note}), flush=True)


def _warn(message: str) -> None:
    print(f"warning: {message}", file=sys.stderr, flush=True)  # the cell's log.txt


def die_with_parent() -> None:
    """A killed study must not leave a cell behind that holds its folder (Linux: PR_SET_PDEATHSIG)."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)


def run_job(given: Path) -> int:
    """The job of a `cell.json` or `job.json` in this process, which does nothing else: its exit code. Signals may be blocked until here."""
    try:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        terminate_in_order()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT, signal.SIGTERM})
        keep_results()
        if given.name == JOB:
            run_search(SearchJob.model_validate(read_json(given)), _training_report(), _say, _warn)
        else:
            run_cell(CellConfig.model_validate(read_json(given)))
    except UserError as error:
        print(json.dumps({"error": str(error)}), flush=True)
        return 2
    except KeyboardInterrupt:
        return 130
    except Terminated:
        return TERMINATED
    return 0


def main() -> int:
    die_with_parent()
    return run_job(Path(sys.argv[1]))


if __name__ == "__main__":
    sys.exit(main())
