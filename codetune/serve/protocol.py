"""The requests of the OpenAI protocol that are understood: every field, its range, and what of the protocol is not done here.

What would change an answer and is not done is refused; what changes nothing (`user`, `store`, ...) is taken. These models are also
the server's own OpenAPI schema.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationInfo, WithJsonSchema, field_validator
from pydantic_core import PydanticCustomError

MOST_STOP = 64  # OpenAI allows 4; editors send the words that begin a block in each language
MOST_LOGPROBS = 20
_MOST_ID = 2**31 - 1

Prompt = str | tuple[int, ...]


def _wrong(message: str) -> PydanticCustomError:
    return PydanticCustomError("not_done", "{said}", {"said": message})


def _only(*accepted: Any, because: str) -> tuple[Any, Any]:
    """A field of which these values alone are taken, besides null: they are what happens anyway."""

    def check(value: Any) -> Any:
        if value is None or any(value == each and type(value) is type(each) for each in accepted):
            return value
        raise _wrong(f"{because}: leave it out")

    return AfterValidator(check), WithJsonSchema({"enum": [None, *accepted]})


def _texts(value: Any) -> Any:
    """A message's content: text, or parts of text, which become lines of one text."""
    if isinstance(value, str):
        return value
    if not isinstance(value, list) or not value:
        raise _wrong("send text, or a list of parts of text")
    for part in value:
        kind = part.get("type") if isinstance(part, dict) else None
        if kind != "text":
            raise _wrong(f"parts of type {kind!r} are not read, only text" if isinstance(kind, str) else "each part needs type and text")
        if not isinstance(part.get("text"), str):
            raise _wrong("a part of type 'text' needs text")
    return "\n".join(part["text"] for part in value)


def _prompts(value: Any) -> Any:
    """One prompt or several, each text or token ids: a tuple of them."""
    several = value if isinstance(value, list) and value and all(isinstance(each, str | list) for each in value) else [value]
    if not all(isinstance(each, str) or _is_ids(each) for each in several):
        raise _wrong("send text, a list of texts, token ids from 0 up, or a list of lists of them; none of them empty")
    return tuple(each if isinstance(each, str) else tuple(map(_whole, each)) for each in several)


def _is_ids(value: Any) -> bool:
    ids = [_whole(each) for each in value] if isinstance(value, list) else []
    return bool(ids) and all(type(each) is int and 0 <= each <= _MOST_ID for each in ids)


def _whole(value: Any) -> Any:
    """JSON has one kind of number, so that 5.0 is a whole one, too."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _stops(value: Any) -> Any:
    several = [] if value is None else [value] if isinstance(value, str) else value
    if not isinstance(several, list) or len(several) > MOST_STOP or not all(isinstance(each, str) and each for each in several):
        raise _wrong(f"send a text or up to {MOST_STOP} of them, none of them empty")
    return tuple(several)


def _given(make: Callable[[Any], Any], *forms: dict[str, Any]) -> tuple[Any, Any]:
    return BeforeValidator(make), WithJsonSchema({"anyOf": list(forms)})


_TEXT = {"type": "string"}
_IDS = {"type": "array", "minItems": 1, "items": {"type": "integer", "minimum": 0, "maximum": _MOST_ID}}
_PART = {"type": "object", "properties": {"type": {"const": "text"}, "text": _TEXT}, "required": ["type", "text"]}
_FILLED = {"type": "string", "minLength": 1}

_content = _given(_texts, _TEXT, {"type": "array", "minItems": 1, "items": _PART})
_prompt = _given(_prompts, _TEXT, {"type": "array", "minItems": 1, "items": _TEXT}, _IDS, {"type": "array", "minItems": 1, "items": _IDS})
_stop = _given(_stops, {"type": "null"}, _FILLED, {"type": "array", "maxItems": MOST_STOP, "items": _FILLED})
_no_bias = _only({}, because="single tokens cannot be made likelier")
_no_penalty = _only(0, 0.0, because="repetition is not penalised")
_any = WithJsonSchema({})

Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Heat = Annotated[float, Field(ge=0, le=2, allow_inf_nan=False)]
_as_whole = BeforeValidator(_whole)  # after the range: the schema would lose it else
Count = Annotated[int, Field(ge=1), _as_whole]


class StreamOptions(BaseModel):
    """`include_usage` adds a last chunk with the tokens counted."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    include_usage: bool | None = None
    include_obfuscation: bool | None = Field(None, description="taken, and changes nothing")


class Generation(BaseModel):
    """What both endpoints have."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    model: str = Field(description="the name of the base or of an adapter, as /v1/models lists them")
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    n: Annotated[int, Field(ge=1, le=128), _as_whole] | None = Field(None, description="answers to each prompt")
    stop: Annotated[tuple[str, ...], *_stop] = Field((), description="what ends an answer, and is no part of it")
    seed: Annotated[int, Field(ge=-(2**63), lt=2**63), _as_whole] | None = Field(None, description="the same seed gives the same answer")
    temperature: Heat | None = Field(None, description="0, greedy, where it is left out")
    top_p: Share | None = None
    max_tokens: Count | None = Field(None, description="of one answer; more than the server allows is as much as it allows")
    prompt_style: str | None = Field(None, description="codetune's own field: how a conversation becomes a prompt")

    frequency_penalty: Annotated[float | None, *_no_penalty] = None
    presence_penalty: Annotated[float | None, *_no_penalty] = None
    logit_bias: Annotated[dict[str, Any] | None, *_no_bias] = None

    user: str | None = Field(None, description="taken, and changes nothing")

    @field_validator("stream_options")
    @classmethod
    def _with_stream(cls, options: StreamOptions | None, info: ValidationInfo) -> StreamOptions | None:
        if options is not None and not info.data.get("stream"):
            raise _wrong("is for streams: send stream as well, or leave it out")
        return options

    @property
    def wants_usage(self) -> bool:
        return bool(self.stream_options and self.stream_options.include_usage)


class Turn(BaseModel):
    """A message. Fields that other servers add to theirs are taken, and change nothing."""

    model_config = ConfigDict(extra="ignore", strict=True, frozen=True)

    role: Literal["system", "developer", "user", "assistant"]
    content: Annotated[str, *_content]
    name: str | None = Field(None, description="taken, and changes nothing")
    tool_calls: Annotated[list[Any] | None, *_only([], because="tools are not called")] = None
    function_call: Annotated[Any, *_only(because="tools are not called")] = None
    audio: Annotated[Any, *_only(because="sound is not read")] = None


def _ends_with_user(turns: list[Turn]) -> list[Turn]:
    if turns[-1].role != "user":
        raise _wrong(f"the last message is the {turns[-1].role}'s, so there is nothing to answer: end with the user's")
    return turns


class ChatRequest(Generation):
    """A conversation to be answered."""

    messages: Annotated[list[Turn], Field(min_length=1), AfterValidator(_ends_with_user)]
    max_completion_tokens: Count | None = Field(None, description="counts before max_tokens")
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=MOST_LOGPROBS), _as_whole] | None = None

    tool_choice: Annotated[Any, *_only("none", "auto", because="tools are not called")] = None
    tools: Annotated[list[Any] | None, Field(description="none, or with tool_choice none")] = None
    functions: Annotated[list[Any] | None, *_only([], because="tools are not called")] = None
    function_call: Annotated[Any, *_only("none", "auto", because="tools are not called")] = None
    response_format: Annotated[dict[str, Any] | None, *_only({"type": "text"}, because="answers are not held to a form")] = None
    modalities: Annotated[list[Any] | None, *_only(["text"], because="answers are text")] = None
    audio: Annotated[Any, *_only(because="answers are text")] = None
    web_search_options: Annotated[Any, *_only(because="the web is not searched")] = None
    moderation: Annotated[Any, *_only(because="nothing is moderated")] = None
    reasoning_effort: Annotated[Any, *_only("none", because="the models do not reason apart from their answer")] = None
    verbosity: Annotated[Any, *_only("medium", because="length is not steered")] = None

    store: bool | None = Field(None, description="taken, and changes nothing: nothing is stored")
    metadata: Annotated[Any, _any] = Field(None, description="taken, and changes nothing")
    service_tier: str | None = Field(None, description="taken, and changes nothing")
    parallel_tool_calls: bool | None = Field(None, description="taken, and changes nothing")
    prediction: Annotated[Any, _any] = Field(None, description="taken, and changes nothing")
    safety_identifier: str | None = Field(None, description="taken, and changes nothing")
    prompt_cache_key: str | None = Field(None, description="taken, and changes nothing")
    prompt_cache_options: Annotated[Any, _any] = Field(None, description="taken, and changes nothing")
    prompt_cache_retention: str | None = Field(None, description="taken, and changes nothing")

    @field_validator("top_logprobs")
    @classmethod
    def _with_logprobs(cls, top: int | None, info: ValidationInfo) -> int | None:
        if top is not None and not info.data.get("logprobs"):
            raise _wrong("is for log-probabilities: send logprobs as well, or leave it out")
        return top

    @field_validator("tools")
    @classmethod
    def _without_tools(cls, tools: list[Any] | None, info: ValidationInfo) -> list[Any] | None:
        if tools and info.data.get("tool_choice") != "none":
            raise _wrong("tools are not called: switch them (or an agent's mode) off, or send tool_choice none")
        return tools

    @property
    def most_tokens(self) -> int | None:
        return self.max_completion_tokens or self.max_tokens

    @property
    def top(self) -> int | None:
        """`Ask.logprobs`."""
        return (self.top_logprobs or 0) if self.logprobs else None


class CompletionRequest(Generation):
    """Text to be gone on with, or with `suffix`, a hole to be filled."""

    prompt: Annotated[tuple[Prompt, ...], *_prompt]
    suffix: str | None = Field(None, description="what stands after the hole; only for models that infill")
    logprobs: Annotated[int, Field(ge=0, le=MOST_LOGPROBS), _as_whole] | None = None
    echo: Annotated[bool | None, *_only(False, because="the prompt is not repeated")] = None
    best_of: Annotated[int | None, _as_whole, *_only(1, because="all answers are given, none is chosen")] = None

    @property
    def most_tokens(self) -> int | None:
        return self.max_tokens

    @property
    def top(self) -> int | None:
        """`Ask.logprobs`."""
        return self.logprobs
