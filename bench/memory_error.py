"""Forecast beside measured peak, part by part, and how far off each component is that a measurement can tell: for mending the forecast.

    python -m bench gpu --only forecast --out gpu.json        prints it; a record of a GPU is read on any machine

Of what a process held, four components can be told apart: the weights (held before the first step), the optimiser's own (held more after
a step), the gradients that are kept (held more before the optimiser's turn), and what a pass holds on top of all these at the peak. The
forecast's parts are put together to the same four; what it thinks of the last (activations, logits, temporary) stands beside it.
"""

from __future__ import annotations

from typing import Any

from bench.memory_parts import FORECAST
from bench.parts import Part

Json = dict[str, Any]
WITHIN = 0.10
COMPONENTS = ("weights", "optimiser", "gradients", "pass")
HEAD = ("part", "forecast GB", "measured GB", "forecast/measured", *(f"{name}: off by GB" for name in COMPONENTS), "mostly")


def told(part: Part, kept: Json) -> str:
    return f"{kept['measured']['training'] / 1e9:.2f} GB"


def measured_components(found: Json) -> dict[str, int]:
    """Bytes of what a process of codetune's held."""
    weights, optimiser = found["loaded"] - found["before"], found["held_after_step"] - found["loaded"]
    gradients = found["held_after_pass"] - found["held_after_step"]
    held = found["before"] + weights + optimiser + gradients
    return {"weights": weights, "optimiser": optimiser, "gradients": gradients, "pass": found["peak"] - held}


def forecast_components(forecast: Json, full: bool, in_backward: bool) -> dict[str, int]:
    """The same of a forecast. `reloading` is the weights as they are kept, `loading` those without what a method adds."""
    weights = forecast["reloading"] - forecast["process"]
    gradients = 0 if in_backward else weights if full else forecast["reloading"] - forecast["loading"]
    held = forecast["process"] + weights + forecast["optimiser"] + gradients
    return {"weights": weights, "optimiser": forecast["optimiser"], "gradients": gradients, "pass": forecast["training"] - held}


def compare(record: Json) -> list[Json]:
    """For each part that is forecast and measured: `name`, `ratio`, `forecast`, `measured`, `off` (bytes by component), `pass_parts`."""
    found = []
    for name, kept in record["parts"].items():
        forecast = record["parts"].get(f"{FORECAST} {name}", {}).get("measured")
        if forecast is None or "measured" not in kept:
            continue
        thought = forecast_components(forecast, kept["method"] == "full", kept["in_backward"])
        held = measured_components(kept["measured"])
        peak = kept["measured"]["peak"] - (0 if record["device"] == "cuda" else kept["measured"]["before"])
        training = forecast["training"] - forecast["process"]
        found.append(
            {
                "name": name, "forecast": training, "measured": peak, "ratio": training / peak,
                "off": {key: thought[key] - held[key] for key in COMPONENTS},
                "pass_parts": {key: forecast[key] for key in ("activations", "logits", "temporary", "kernels")},
            }
        )  # fmt: skip
    return found


def report(record: Json) -> str:
    """The table, the worst first, and how many are within a tenth."""
    found = sorted(compare(record), key=lambda one: -abs(one["ratio"] - 1))
    if not found:
        return ""
    good = sum(abs(one["ratio"] - 1) <= WITHIN for one in found)
    lines = [
        f"Forecast against measured peak of the steps: {good} of {len(found)} parts within {100 * WITHIN:.0f}%, the worst first. A "
        "component is off by forecast minus measured; the pass holds activations, logits and what is temporary (forecasts: last column).",
        "", f"| {' | '.join(HEAD)} |", f"|---|{'---:|' * 7}---|",
    ]  # fmt: skip
    for one in found:
        worst = max(COMPONENTS, key=lambda key: abs(one["off"][key]))
        thought = ", ".join(f"{key} {size / 1e9:.2f}" for key, size in one["pass_parts"].items() if size)
        off = [f"{one['off'][key] / 1e9:+.2f}" for key in COMPONENTS]
        sizes = [f"{one[key] / 1e9:.2f}" for key in ("forecast", "measured")]
        cells = [one["name"], *sizes, f"{one['ratio']:.3f}", *off, f"{worst} ({thought})"]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)
