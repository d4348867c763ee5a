"""The matrix rate of this machine, one thread: the most operations a second that a product reaches, in bf16 and in fp32.

    python -m bench.rate [rows inputs outputs]

Prints JSON, operations per CPU second. `bf16` and `fp32` are oneDNN's, `fp32_mkl` is what `@` and `nn.Linear` take by default. Of the
shape that is given, and of a square product, the fastest counts: a share of a rate that no product reaches would say nothing.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable

import torch

SECONDS = 1.0  # for each shape and kind
SQUARE = (1024, 1024, 1024)


def main(shape: tuple[int, int, int]) -> dict[str, float]:
    """Operations per CPU second by kind."""
    torch.set_num_threads(1)
    found: dict[str, float] = {}
    for rows, inputs, outputs in (shape, SQUARE):
        x, weight = torch.randn(rows, inputs), torch.randn(outputs, inputs)
        halves, halved = x.bfloat16(), weight.bfloat16()
        kinds: dict[str, Callable[[], object]] = {"bf16": lambda a=halves, b=halved: a @ b.T, "fp32_mkl": lambda a=x, b=weight: a @ b.T}  # type: ignore[misc]
        if torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
            kinds["fp32"] = lambda a=x, b=weight: torch.ops.mkldnn._linear_pointwise(a, b, None, "none", [], "")  # type: ignore[misc]
        for kind, product in kinds.items():
            found[kind] = max(found.get(kind, 0.0), 2 * rows * inputs * outputs / fastest(product))
    return found


@torch.inference_mode()
def fastest(product: Callable[[], object]) -> float:
    """CPU seconds of the fastest of all that fit into SECONDS, ten at a time."""
    product()
    best, begun = float("inf"), time.process_time()
    while time.process_time() - begun < SECONDS:
        started = time.process_time()
        for _ in range(10):
            product()
        best = min(best, (time.process_time() - started) / 10)
    return best


if __name__ == "__main__":
    rows, inputs, outputs = map(int, sys.argv[1:4]) if len(sys.argv) > 3 else (512, 768, 3072)
    print(json.dumps(main((rows, inputs, outputs))))
