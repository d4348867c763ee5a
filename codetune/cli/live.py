"""The live engine that `serve`, `chat` and `mend` have answer: the one place where it is opened."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from codetune.cli.flags import LiveFlags, ServedFlags, adapters_by_name
from codetune.errors import UserError
from codetune.export.vllm import RANKS, objections
from codetune.generate.live import LiveEngine
from codetune.generate.live_server import LiveServer
from codetune.generate.server import Server
from codetune.models.stages import ADAPTER_CONFIG, read, tuned_folder

ROWS, WAITING = 16, 256  # answers that are written at once, and that may wait


def open_live_engine(flags: LiveFlags | ServedFlags, rows: int = ROWS, waiting: int = WAITING) -> LiveEngine:
    """Loads the model with its adapters, or looks for the server; the caller closes it. Raises UserError where it cannot be had."""
    flags.require_consistent()
    if flags.engine == "openai":
        return LiveServer(server_of(flags.base_url, flags.api_key_env, live=True), flags.model)
    adapters = adapters_by_name(flags.adapter or ())
    if flags.engine == "vllm":
        return _open_vllm(flags.asked_model, adapters, waiting)
    from codetune.generate.continuous import ContinuousEngine  # torch is loaded only where a model is
    from codetune.models.several import open_voices

    voices = open_voices(flags.asked_model, adapters, flags.precision or "fp32", flags.device or "auto", flags.quantize)
    return ContinuousEngine(voices, rows, waiting)


def server_of(base_url: str | None, key_name: str | None, live: bool = False) -> Server:
    """The server of --engine openai, with the key that the environment has for it. Raises UserError where flags are missing."""
    if base_url is None:
        raise UserError("--engine openai needs --base-url, the server's address, as in http://localhost:8000/v1")
    name = key_name or "OPENAI_API_KEY"
    if key_name and not os.environ.get(name):
        raise UserError(f"--api-key-env {name}: no such environment variable is set")
    return Server(base_url, os.environ.get(name, ""), name, live=live)


def _open_vllm(model: str, adapters: Mapping[str, Path], waiting: int) -> LiveEngine:
    """Raises UserError for an adapter that vLLM does not load, by the rules of `export.vllm`."""
    from safetensors import safe_open

    from codetune.generate.vllm import Lora, VllmEngine, installed
    from codetune.models.load import read_config

    model_type = read_config(model)[1].model_type
    loras = {}
    for name, path in adapters.items():
        folder = tuned_folder(path)
        config = read(folder / ADAPTER_CONFIG)
        if not config:
            raise UserError(f"--adapter {name}={path} is a whole model: with --engine vllm give it as --model, or use --engine own")
        with safe_open(folder / "adapter_model.safetensors", "pt") as tensors:
            why = objections(config, tensors.keys(), model_type)
        if why:
            raise UserError(f"--adapter {name}={path}: vLLM does not load it ({'; '.join(why)}); use --engine own")
        loras[name] = Lora(folder, next(size for size in RANKS if size >= config["r"]))
    return VllmEngine(installed(), model, loras, waiting)
