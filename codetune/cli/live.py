"""The live engine that `serve`, `chat` and `mend` have answer: the one place where it is opened."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from codetune.cli.answer_openai import server_of
from codetune.cli.flags import LiveFlags, ServedFlags, adapters_by_name
from codetune.errors import UserError
from codetune.generate.live import LiveEngine
from codetune.generate.live_server import LiveServer
from codetune.models.names import resolve
from codetune.models.stages import ADAPTER_CONFIG, read, tuned_folder

ROWS, WAITING = 16, 256  # answers that are written at once, and that may wait


def open_live_engine(flags: LiveFlags | ServedFlags, rows: int = ROWS, waiting: int = WAITING) -> LiveEngine:
    """Loads the model with its adapters, or looks for the server; the caller closes it. Raises UserError where it cannot be had."""
    flags.require_consistent()
    if flags.engine == "openai":
        return LiveServer(server_of(flags.base_url, flags.api_key_env, live=True), flags.model)
    adapters = adapters_by_name(flags.adapter or (), flags.asked_model)
    if flags.engine == "vllm":
        return _in_vllm(flags.asked_model, adapters, waiting)
    from codetune.generate.continuous import ContinuousEngine  # torch is loaded only where a model is
    from codetune.models.several import open_voices

    voices = open_voices(flags.asked_model, adapters, flags.precision or "fp32", flags.device or "auto", flags.quantize)
    return ContinuousEngine(voices, rows, waiting)


def _in_vllm(model: str, adapters: Mapping[str, Path], waiting: int) -> LiveEngine:
    """Raises UserError for adapters that vLLM would not load, by its own rules, before it is started."""
    from codetune.export.adapter import model_type_of, tensor_names
    from codetune.export.vllm import objections, room
    from codetune.generate.vllm import Lora, VllmEngine, installed

    loras = {}
    for name, given in adapters.items():
        folder = tuned_folder(given)
        config = read(folder / ADAPTER_CONFIG)
        against = objections(config, tensor_names(folder), model_type_of(resolve(model))) if config else ["a whole model is no adapter"]
        if against:
            raise UserError(f"--adapter {name}: vLLM would not load it: {'; '.join(against)}. --engine own serves it")
        loras[name] = Lora(folder, room(config["r"]))
    return VllmEngine(installed(), model, loras, waiting)
