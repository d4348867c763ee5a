"""The live engine that `serve`, `chat` and `mend` have answer: the one place where it is opened."""

from __future__ import annotations

from pathlib import Path

from codetune.cli.answer_openai import server_of
from codetune.cli.flags import LiveFlags, ServedFlags, adapters_by_name, require_consistent
from codetune.errors import UserError
from codetune.generate.live import LiveEngine
from codetune.generate.live_server import LiveServer

ROWS, WAITING = 16, 256  # answers that are written at once, and that may wait
_BASE = "codetune-base"  # where no model is named


def open_live_engine(flags: LiveFlags | ServedFlags, rows: int = ROWS, waiting: int = WAITING) -> LiveEngine:
    """Loads the model with its adapters, or looks for the server; the caller closes it. Raises UserError where one cannot be had."""
    require_consistent(flags)
    if not flags.model:
        raise UserError("--model is missing: give codetune-base (ships with codetune), a folder, or a hub id")
    if flags.engine == "openai":
        return _on_a_server(flags)
    adapters = adapters_by_name(flags.adapter or ())
    return _in_vllm(flags.model, adapters, waiting) if flags.engine == "vllm" else _own(flags, adapters, rows, waiting)


def _own(flags: LiveFlags | ServedFlags, adapters: dict[str, Path], rows: int, waiting: int) -> LiveEngine:
    from codetune.generate.continuous import ContinuousEngine  # torch is loaded only where a model is
    from codetune.models.several import open_voices

    voices = open_voices(flags.model, adapters, flags.precision or "fp32", flags.device or "auto", flags.quantize)
    return ContinuousEngine(voices, rows, waiting)


def _on_a_server(flags: LiveFlags | ServedFlags) -> LiveEngine:
    """Its own names for models; the default of --model is one of them only where it says so."""
    server = server_of(flags.base_url, flags.api_key_env, live=True)
    named = flags.model != _BASE or _BASE in server.models()
    return LiveServer(server, flags.model if named else "")


def _in_vllm(model: str, adapters: dict[str, Path], waiting: int) -> LiveEngine:
    """Raises UserError for adapters that vLLM would not load, by its own rules, before it is started."""
    from codetune.export.adapter import model_type_of, tensor_names
    from codetune.export.vllm import objections, room
    from codetune.generate.vllm import Lora, VllmEngine, installed
    from codetune.models.names import resolve
    from codetune.models.stages import ADAPTER_CONFIG, read, tuned_folder

    loras = {}
    for name, given in adapters.items():
        folder = tuned_folder(given)
        config = read(folder / ADAPTER_CONFIG)
        against = objections(config, tensor_names(folder), model_type_of(resolve(model))) if config else ["a whole model is no adapter"]
        if against:
            raise UserError(f"--adapter {name}: vLLM would not load it: {'; '.join(against)}. --engine own serves it")
        loras[name] = Lora(folder, room(config["r"]))
    return VllmEngine(installed(), model, loras, waiting)
