"""One point of the scaling benchmark, in a process of its own.

    python -m bench.scaling_point SERIES VARIANT SIZE TINY        prints JSON, run by bench/scaling.py
"""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pyarrow.parquet as pq
import torch
import transformers

from bench.material import STYLE, attach_method, random_model
from bench.scaling_series import WIDTHS
from codetune.batches import collate, make_rows
from codetune.config import DecodingConfig, FullConfig, LoraConfig, MethodConfig, TrainConfig
from codetune.data.basics import load
from codetune.data.pack import tokens_of
from codetune.data.prepared.columns import to_table
from codetune.data.training import Maker, tokenise_documents
from codetune.generate.continuous import ContinuousEngine
from codetune.generate.live import Ask, take
from codetune.models.load import load_model
from codetune.models.machine import peak_memory_bytes, reset_peak
from codetune.models.several import open_voices
from codetune.prompts.template import make_template
from codetune.records import Document
from codetune.train.dry_run import DryRun, measured_in_child
from codetune.train.plan import micro_batches, plan_steps

Json = dict[str, Any]
ROW, STEP_TOKENS, SHORT = 512, 4096, 64
ANSWERS, NEW_TOKENS = 16, 32
DOCUMENTS_PER_FILE = 50_000
METHODS: dict[str, MethodConfig] = {"lora": LoraConfig(lora_rank=8, lora_alpha=16), "full": FullConfig()}


def main(series: str, variant: str, size: int, tiny: bool) -> Json:
    return {"model": model, "row": row, "examples": examples, "adapters": adapters}[series](variant, size, tiny)


def model(variant: str, size: int, tiny: bool) -> Json:
    """A step of rows of 512, one a pass, of a model of about so many parameters."""
    width, layers, vocabulary = WIDTHS[size]
    config = gpt2(width, layers, vocabulary, 1024)
    found = stepped(config, variant, [[(ROW, 1)]] * (2 if tiny else 4), ROW)
    parameters = vocabulary * width + 1024 * width + 12 * layers * width**2 + 13 * layers * width + 2 * width
    return {"x": parameters} | taken(found)


def row(variant: str, size: int, tiny: bool) -> Json:
    """A step of so many rows that all steps have as many tokens; a row is one document, many of 64 tokens, or half this and half that."""
    config = gpt2(64, 2, 2048, 4096) if tiny else gpt2(256, 4, 8192, 4096)
    long = {"one long document": size, "short documents": 0}.get(variant, size // 2)
    documents = [(long, 1)] * bool(long) + [(SHORT, 1)] * ((size - long) // SHORT)
    return taken(stepped(config, "lora", [documents] * max(1, STEP_TOKENS // size), size))


def gpt2(width: int, layers: int, vocabulary: int, positions: int) -> Any:
    return transformers.GPT2Config(
        n_embd=width, n_layer=layers, n_head=width // 32 if width < 512 else width // 64, vocab_size=vocabulary, n_positions=positions,
        bos_token_id=0, eos_token_id=0,
    )  # fmt: skip


def stepped(config: Any, method: str, rows: list[list[tuple[int, int]]], width: int) -> DryRun:
    """The second of two steps on random weights, one row a pass, in a child of its own."""
    tokens = sum(length for documents in rows for length, _ in documents)
    train = TrainConfig(precision="bf16", max_seq_len=width, batch_tokens=tokens, micro_batch_size=1)
    return measured_in_child(config, METHODS[method], train, rows, "cpu", 900.0)


def taken(found: DryRun) -> Json:
    return {
        "cpu_s_per_token": found.cpu_seconds / found.tokens, "grown_bytes": found.peak - found.before,
        "step_bytes": max(1, found.peak - found.loaded), "peak_bytes": found.peak, "cpu_seconds": found.cpu_seconds, "tokens": found.tokens,
    }  # fmt: skip


def examples(variant: str, size: int, tiny: bool) -> Json:
    """So many short pairs in Parquet files, as `codetune data prepare` leaves them: tokenised, packed, planned, the first batch."""
    tokenizer = load_model("codetune-base").tokenizer
    found: Json = {}
    with tempfile.TemporaryDirectory() as temporary:
        writer = multiprocessing.get_context("spawn").Process(target=write_documents, args=(Path(temporary), size))
        writer.start()  # a process of its own, so that none of its memory is held here
        writer.join()
        shards = tuple(sorted(Path(temporary).glob("*.parquet")))
        reset_peak("cpu")
        before = psutil.Process().memory_info().rss
        maker = Maker(make_template(STYLE), tokenizer, ROW)
        with timed(found, "tokenise_cpu_s"):
            made = tokenise_documents(shards, maker, Path(temporary), processes=1)
        with timed(found, "pack_cpu_s"):
            rows = make_rows(made, "exact", ROW, range(len(made)))
        with timed(found, "plan_cpu_s"):
            steps = plan_steps(rows, sum(tokens_of(rows)), STEP_TOKENS, 0)
        with timed(found, "first_batch_cpu_s"):
            collate(made, micro_batches(steps[0], rows, 4)[0], "exact")
        peak = peak_memory_bytes("cpu")
        return found | {"grown_bytes": max(1, peak - before), "peak_bytes": peak, "tokens": len(made.ids), "rows": len(rows)}


def write_documents(folder: Path, count: int) -> None:
    """Parquet files of pairs: those of `basics` again and again, each with a number of its own."""
    problems = load("train")
    for start in range(0, count, DOCUMENTS_PER_FILE):
        documents = []
        for number in range(start, min(count, start + DOCUMENTS_PER_FILE)):
            problem = problems[number % len(problems)]
            documents.append(Document(f"pair/{number}", problem.reference, instruction=f"{problem.instruction} ({number})"))
        pq.write_table(to_table(documents), folder / f"train-{start // DOCUMENTS_PER_FILE:05}.parquet", compression="zstd")


def adapters(variant: str, size: int, tiny: bool) -> Json:
    """Sixteen answers at once by so many LoRA adapters over one base, all of the same length."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        random_model(gpt2(96, 2, 2048, 1024) if tiny else gpt2(384, 6, 8192, 1024), folder / "model")
        first = attach_method(load_model(str(folder / "model")), "lora", [2])
        for number in range(size):
            torch.manual_seed(number)
            for parameter in first.trained().values():
                torch.nn.init.normal_(parameter, std=0.02)
            first.save(folder / f"adapter-{number}")
        reset_peak("cpu")
        before = psutil.Process().memory_info().rss
        voices = open_voices(str(folder / "model"), {f"a{number}": folder / f"adapter-{number}" for number in range(size)}, on="cpu")
        with contextlib.closing(ContinuousEngine(voices, rows=ANSWERS)) as engine:
            answer(engine, size, 4)  # warms up
            started = time.process_time()
            written = answer(engine, size, NEW_TOKENS)
            seconds = time.process_time() - started
        peak = peak_memory_bytes("cpu")
        return {
            "cpu_s_per_token": seconds / written, "grown_bytes": max(1, peak - before), "peak_bytes": peak, "cpu_seconds": seconds,
            "tokens": written,
        }  # fmt: skip


def answer(engine: ContinuousEngine, voices: int, new_tokens: int) -> int:
    """Sixteen answers, dealt to the adapters in turn; how many tokens were written."""
    decoding = DecodingConfig(max_new_tokens=new_tokens)
    prompt = tuple(range(2, 34))
    asked = [take(engine, Ask(f"a{number % voices}", prompt=(*prompt, number + 2), decoding=decoding))[1] for number in range(ANSWERS)]
    return sum(max(piece.num_tokens for piece in pieces) for pieces in asked)


@contextlib.contextmanager
def timed(found: Json, key: str) -> Iterator[None]:
    started = time.process_time()
    yield
    found[key] = max(1e-6, time.process_time() - started)


if __name__ == "__main__":
    torch.set_num_threads(1)
    transformers.utils.logging.disable_progress_bar()
    with contextlib.redirect_stdout(sys.stderr):  # the answer alone goes to stdout
        result = main(sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4] == "1")
    print(json.dumps(result))
