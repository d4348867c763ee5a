"""Where a training step's time goes on a GPU: its kernels by kind, the gaps between them, its phases; of GPT-2 124M and of a 7B model.

The phases are timed in steps without the profiler, the device done after each; the kernels are those of a few steps under torch.profiler.
Without a GPU the operators' own CPU time takes the kernels' place: that shows that it works, and is no result.
"""

from __future__ import annotations

import json
import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from torch.autograd import DeviceType

from bench.gpu_job import GpuJob
from bench.gpu_speed import CASES, job_of
from bench.parts import Part

Json = dict[str, Any]
PROFILED = ("gpt2-full", "gpt2-lora", "7b-lora", "7b-full")
STEPS, WARM_UP, TOP = 3, 3, 20
KINDS = (  # the first that a kernel's name has a word of
    ("attention", ("flash", "fmha", "flex_attention", "sdpa", "scaled_dot_product", "attention")),
    (
        "matrix products",
        ("gemm", "gemv", "nvjet", "cutlass", "xmma", "wgmma", "splitk", "addmm", "bmm", "::mm", "linear_pointwise", "convolution"),
    ),
    ("optimiser", ("multi_tensor", "adam", "foreach", "blockwise", "lpnorm")),
    ("copies", ("memcpy", "memset", "copy_", "direct_copy", "_to_copy", "cat", "catarray", "clone")),
    ("softmax and loss", ("softmax", "logsumexp", "nll", "cross_entropy")),
    ("norms", ("norm", "rms", "welford")),
)
PHASES = ("gradient", "clipping", "optimiser's step")


def parts_of(where: str, tiny: bool) -> list[Part]:
    found = []
    for name in PROFILED:
        case = next(one for one in CASES if one.name == name)
        job = replace(job_of(case, "codetune", where, tiny), warm_up=WARM_UP, steps=2 * STEPS)
        found.append(Part("profile", f"profile {name}", "bench.gpu_profile", asdict(job), expected_s=40 if "7b" in name else 20))
    return found


def main(path: Path) -> None:
    """Print seconds of a step by phase and kernel."""
    from bench.ours_gpu import LEARNING_RATE, run_of
    from codetune.train.gradient import clip_gradients, step_gradient
    from codetune.train.optimizer import make_optimizer

    job = GpuJob.load(path)
    run = run_of(job)
    trained = run.adapted.trained()
    optimizer = make_optimizer(trained, run.config, LEARNING_RATE)
    run.adapted.root.train()
    phases: dict[str, float] = defaultdict(float)

    def update() -> None:
        optimizer.step()
        optimizer.zero_grad()

    def step(number: int, timed: bool) -> None:
        made: tuple[Callable[[], object], ...] = (
            lambda: step_gradient(run, run.material.steps[number]), lambda: clip_gradients(run, trained), update,
        )  # fmt: skip
        for name, phase in zip(PHASES, made, strict=True):
            began = time.perf_counter()
            phase()
            if timed:
                _done(job.where)
                phases[name] += (time.perf_counter() - began) / STEPS

    for number in range(WARM_UP + STEPS):
        step(number, timed=number >= WARM_UP)
    activities = [torch.profiler.ProfilerActivity.CPU, *([torch.profiler.ProfilerActivity.CUDA] if job.where == "cuda" else [])]
    with torch.profiler.profile(activities=activities) as profiler:
        for number in range(WARM_UP + STEPS, WARM_UP + 2 * STEPS):
            step(number, timed=False)
        _done(job.where)
    print(json.dumps({"phases": dict(phases), "tokens": sum(job.documents)} | by_kernel(profiler.events(), job.where)))


def _done(where: str) -> None:
    if where == "cuda":
        torch.cuda.synchronize()


def by_kernel(events: Iterable[Any], where: str) -> Json:
    """Seconds a step by kind of kernel and of the longest kernels, how many there were, and in which seconds any ran (0 on a CPU)."""
    seconds: dict[str, float] = defaultdict(float)
    counts: dict[str, int] = defaultdict(int)
    spans: list[tuple[float, float]] = []
    for event in events:
        if where == "cuda" and event.device_type == DeviceType.CUDA:
            spans.append((event.time_range.start, event.time_range.end))
            took = event.time_range.elapsed_us()
        elif where == "cpu" and event.device_type == DeviceType.CPU:
            took = event.self_cpu_time_total
        else:
            continue
        seconds[event.name] += took / 1e6 / STEPS
        counts[event.name] += 1
    kinds: dict[str, float] = defaultdict(float)
    for name, took in seconds.items():
        kinds[kind_of(name)] += took
    longest = sorted(seconds, key=lambda name: -seconds[name])[:TOP]
    kernels = [{"name": name[:160], "kind": kind_of(name), "seconds": seconds[name], "times": counts[name] / STEPS} for name in longest]
    return {"kinds": dict(kinds), "kernels": kernels, "launches": sum(counts.values()) / STEPS, "busy": covered(spans) / 1e6 / STEPS}


def kind_of(kernel: str) -> str:
    """What a kernel is for, by its name.

    >>> kind_of("nvjet_hsh_128x256_64x4_coopA_NTN"), kind_of("void pytorch_flash::flash_fwd_kernel<...>")
    ('matrix products', 'attention')
    """
    small = kernel.lower()
    return next((kind for kind, words in KINDS if any(word in small for word in words)), "elementwise and the rest")


def covered(spans: list[tuple[float, float]]) -> float:
    """How much time at least one of the spans covers.

    >>> covered([(0, 2), (1, 3), (5, 6)])
    4.0
    """
    total, reached = 0.0, float("-inf")
    for start, end in sorted(spans):
        total += max(0.0, end - max(start, reached))
        reached = max(reached, end)
    return total


def told(part: Part, kept: Json) -> str:
    kinds = kept["measured"]["kinds"]
    longest = max(kinds, key=lambda kind: kinds[kind])
    return f"{1000 * sum(kept['measured']['phases'].values()):,.1f} ms a step, most of it {longest}"


def report(record: Json) -> str:
    """A table of kinds and phases, and the longest kernels of each."""
    found = [(name, record["parts"][f"profile {name}"]) for name in PROFILED if f"profile {name}" in record["parts"]]
    return "\n\n".join(_report(name, kept, record["device"]) for name, kept in found)


def _report(name: str, kept: Json, device: str) -> str:
    if "measured" not in kept:
        return f"Profile of {name}: failed: {kept['failed']}"
    one = kept["measured"]
    step = sum(one["phases"].values())
    phases = ", ".join(f"{phase} {100 * took / step:.1f}%" for phase, took in one["phases"].items())
    gaps = f"; no kernel runs in {100 * max(0.0, 1 - one['busy'] / step):.1f}% of it" if device == "cuda" else ""
    lines = [
        f"Profile of {name}: {1000 * step:,.1f} ms a step of {one['tokens']:,} tokens ({phases}); {one['launches']:,.0f} "
        f"{'kernels' if device == 'cuda' else 'operators'} a step{gaps}.",
        "", "| what | ms a step | share | times a step |", "|---|---:|---:|---:|",
    ]  # fmt: skip
    total = sum(one["kinds"].values())
    kinds = sorted(one["kinds"].items(), key=lambda pair: -pair[1])
    lines += [f"| **{kind}** | {1000 * took:,.2f} | {100 * took / total:.1f}% | |" for kind, took in kinds]
    for kernel in one["kernels"][:10]:
        share = f"{100 * kernel['seconds'] / total:.1f}%"
        named = kernel["name"][:90].replace("|", "/").replace("\n", " ")
        lines.append(f"| `{named}` | {1000 * kernel['seconds']:,.2f} | {share} | {kernel['times']:,.0f} |")
    return "\n".join(lines)
