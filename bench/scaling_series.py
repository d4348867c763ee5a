"""The series of the scaling benchmark: which sizes, what is looked at, and with which exponent it may grow."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

Json = dict[str, Any]
WIDTHS = {  # of GPT-2's kind: parameters -> width, layers, vocabulary
    1_000_000: (96, 2, 8192), 3_400_000: (192, 4, 8192), 14_000_000: (384, 6, 8192), 36_000_000: (512, 10, 8192),
    124_000_000: (768, 12, 50257),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Quantity:
    """A figure of a point that grows: `right` is the exponent that the mathematics leaves, `why` in a few words."""

    key: str
    what: str
    unit: str
    right: float
    why: str
    written: str = "{:.3g}"
    variants: tuple[str, ...] = ()  # those alone; () is all


@dataclass(frozen=True, slots=True)
class Series:
    """Points along one size."""

    name: str
    size: str
    all_sizes: tuple[int, ...]
    tiny_sizes: tuple[int, ...]
    variants: tuple[str, ...]
    quantities: tuple[Quantity, ...]

    def sizes(self, tiny: bool) -> tuple[int, ...]:
        return self.tiny_sizes if tiny else self.all_sizes

    def told(self, point: Json) -> str:
        """A point in a line."""
        return ", ".join(f"{one.what} {one.written.format(point[one.key])} {one.unit}" for one in self.quantities if one.key in point)

    def growth(self, points: Sequence[Json]) -> list[Json]:
        """For each quantity and variant its values along the sizes, and the slope of their logarithms."""
        found = []
        for quantity in self.quantities:
            for variant in quantity.variants or self.variants:
                here = [point for point in points if point["variant"] == variant and quantity.key in point]
                sizes: list[float] = [point.get("x", point["size"]) for point in here]
                values: list[float] = [point[quantity.key] for point in here]
                if not here:
                    continue
                what = f"{quantity.what}, {variant}" if len(self.variants) > 1 else quantity.what
                found.append({
                    "series": self.name, "what": what, "unit": quantity.unit, "sizes": sizes, "values": values, "right": quantity.right,
                    "why": quantity.why, "written": quantity.written, "exponent": exponent(sizes, values),
                })  # fmt: skip
        return found


def exponent(sizes: Sequence[float], values: Sequence[float]) -> float | None:
    """The slope of a straight line through the logarithms; None with fewer than three points, or one that is not positive.

    >>> round(exponent([1, 10, 100], [3.0, 30.0, 300.0]), 6)
    1.0
    """
    if len(set(sizes)) < 3 or min(values) <= 0:
        return None
    slope, _ = np.polyfit([math.log(size) for size in sizes], [math.log(value) for value in values], 1)
    return float(slope)


_ROW_TIME = "a document's tokens look at all before them, so a token's cost grows with the row at most in a straight line"
_APART = "short documents look at themselves alone, however long the row"
SERIES = {
    series.name: series
    for series in (
        Series(
            "model", "parameters", tuple(WIDTHS), tuple(WIDTHS)[:3], ("lora", "full"),
            (
                Quantity("cpu_s_per_token", "time of a token", "CPU s per token", 1, "two operations a parameter and pass"),
                Quantity("grown_bytes", "memory", "bytes over the libraries", 1, "weights, what trains of them and its moments", "{:.2e}"),
            ),
        ),
        Series(
            "row", "tokens of a row", (128, 256, 512, 1024, 2048, 4096), (128, 256, 512),
            ("one long document", "short documents", "half a long document, the rest short"),
            (
                Quantity(
                    "cpu_s_per_token", "time of a token", "CPU s per token", 1, _ROW_TIME,
                    variants=("one long document", "half a long document, the rest short"),
                ),
                Quantity("cpu_s_per_token", "time of a token", "CPU s per token", 0, _APART, variants=("short documents",)),
                Quantity(
                    "step_bytes", "memory of a pass", "bytes of a step", 1, "activations are kept by token; no matrix of scores need be",
                    "{:.2e}",
                ),
            ),
        ),
        Series(
            "examples", "examples", (1_000, 10_000, 100_000, 1_000_000), (300, 1_000, 3_000), ("pairs",),
            (
                Quantity("tokenise_cpu_s", "tokenising", "CPU s", 1, "each text once"),
                Quantity("pack_cpu_s", "packing", "CPU s", 1, "by pair of length and room, not by pair of examples"),
                Quantity("plan_cpu_s", "planning the steps of an epoch", "CPU s", 1, "each row once"),
                Quantity("first_batch_cpu_s", "first batch", "CPU s", 0, "its own rows alone are read"),
                Quantity("grown_bytes", "memory", "bytes over the libraries", 1, "flat arrays and where each begins", "{:.2e}"),
            ),
        ),
        Series(
            "adapters", "adapters", (1, 2, 4, 8, 16), (1, 2, 4), ("lora",),
            (
                Quantity("cpu_s_per_token", "time of a token, 16 answers at once", "CPU s per token", 0, "the base once for all rows"),
                Quantity("grown_bytes", "memory", "bytes over the libraries", 1, "the base once, and each adapter", "{:.2e}"),
            ),
        ),
    )
}  # fmt: skip
