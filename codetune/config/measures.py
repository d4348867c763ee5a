"""What a study measures of each cell beyond its scores and what training cost."""

from __future__ import annotations

from pydantic import Field

from codetune.config.sections import Config


class MeasuresConfig(Config):
    """Measures of a cell that cost time of their own; each can be left out."""

    held_out: bool = Field(True, description="loss of every row on the validation data, base and few-shot rows included")
    forgetting: tuple[str, ...] = Field(
        (), description="benchmarks or JSONL files of what the base model could do: loss of the references and pass rate, before and after"
    )
    rephrased: int = Field(0, ge=0, description="so many problems of each benchmark asked again in other words; 0: none")
    memory: bool = Field(True, description="forecast of what the peak memory of training is for, beside the measured peak")
    matrix_rate: bool = Field(True, description="the share of this machine's rate of matrix products that training reached")
    latency: bool = Field(True, description="time to the first token and per token, with the adapter and merged")
    price_per_hour: float | None = Field(None, gt=0, description="of the machine; every cell's cost is then in the table")
    currency: str = Field("USD", description="of the price")
