"""What a request of the page says of a model and of decoding, checked against what is served and allowed."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict, Field

from codetune.config import DecodingConfig
from codetune.generate.live import LiveEngine, ServedModel, UnknownModelError, unknown_style
from codetune.records import Json
from codetune.serve.errors import invalid
from codetune.serve.settings import ServeSettings


class Body(BaseModel):
    """JSON of a request; a key that is not known is an error, as is a text where a number is wanted."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


class Decoding(Body):
    """How an answer is written; temperature 0 is greedy. No `max_new_tokens` is the server's default, and more than it allows is cut."""

    temperature: float = Field(0.0, ge=0, le=10)
    top_p: float = Field(1.0, gt=0, le=1)
    max_new_tokens: int | None = Field(None, ge=1)
    seed: int = Field(0, ge=0, lt=1 << 63)

    def config(self, settings: ServeSettings) -> DecodingConfig:
        wanted = self.max_new_tokens or settings.default_new_tokens
        most = min(wanted, settings.max_new_tokens)
        return DecodingConfig(temperature=self.temperature, top_p=self.top_p, max_new_tokens=most, seed=self.seed)


def shown_decoding(decoding: DecodingConfig) -> Json:
    return {name: getattr(decoding, name) for name in ("temperature", "top_p", "max_new_tokens", "seed")}


async def find_models(engine: LiveEngine, names: Sequence[str], prompt_style: str | None = None) -> list[ServedModel]:
    """The served models of these names, in order, all of which know the style. Raises UnknownModelError and ProtocolError."""
    served = await asyncio.to_thread(engine.models)  # an engine may have to ask a server
    found = [find_model(served, name) for name in names]
    for model in found:
        require_style(model, prompt_style)
    return found


def find_model(served: Sequence[ServedModel], name: str) -> ServedModel:
    """Raises UnknownModelError."""
    found = next((model for model in served if model.name == name), None)
    if found is None:
        raise UnknownModelError.of(name, [model.name for model in served])
    return found


def require_style(model: ServedModel, style: str | None) -> None:
    """Raises ProtocolError for a prompt style that the model does not know; None is its own."""
    if style is not None and style not in model.styles:
        raise invalid(unknown_style(model.name, style, model.styles), "prompt_style")
