"""The sections of tuning methods: what each trains, how much of it, and from where it starts."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BeforeValidator, Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from codetune.config.sections import Config

Targets = Literal["all-linear"] | tuple[str, ...]
_SHARE = "instead of the size: the largest whose trained parameters are at most this share of the base model's, as 0.005"


class Sized(Config):
    """A method whose size is stated outright, or as a share of the base model's parameters."""

    size_key: ClassVar[str]  # the field that holds it
    trainable_share: float | None = Field(None, gt=0, lt=1, description=_SHARE)

    @model_validator(mode="after")
    def _one_budget(self) -> Self:
        if self.trainable_share is not None and self.size_key in self.model_fields_set:
            raise ValueError(f"{self.size_key} and trainable_share both say how much is trained: give one of them")
        return self

    @model_serializer(mode="wrap")
    def _without_a_size_that_does_not_count(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        kept: dict[str, Any] = dump(self)
        if self.trainable_share is not None:
            kept.pop(self.size_key, None)
        return kept


class FullConfig(Config):
    """Full fine-tuning: every weight of the model is trained."""

    name: Literal["full"] = "full"
    learning_rate: float = Field(5e-4, gt=0, description="peak; about a tenth of LoRA's for models of 100M and up")
    label: str = Field("", description="the row's name in reports; default: the method's")


class LoraSettings(Sized):
    """What LoRA and its relatives share: a trained update of low rank beside linear layers."""

    size_key: ClassVar[str] = "lora_rank"
    learning_rate: float = Field(2e-3, gt=0)
    lora_rank: int = Field(16, gt=0)
    lora_alpha: float = Field(
        32, gt=0, description="scale is lora_alpha / lora_rank, twice the rank is usual; with trainable_share the scale is that of rank 16"
    )
    lora_dropout: float = Field(0.0, ge=0, lt=1)
    target_modules: Targets = Field("all-linear", description="or names of linear layers; the LM head is none of them")
    rslora: bool = Field(False, description="scale by lora_alpha / sqrt(lora_rank), which holds high ranks down less")
    dora: bool = Field(False, description="direction and length of each weight column apart (Liu et al. 2024)")
    init: Literal["zeros", "pissa"] = Field("zeros", description="pissa: start from the largest singular directions (Meng et al. 2024)")
    learning_rate_ratio: float = Field(1.0, gt=0, description="rate of the second matrix (B) over that of the first; LoRA+ has 16")
    quantize: Literal["none", "nf4"] = Field("none", description="nf4: the frozen base in 4 bits (needs the extra `quant`)")
    label: str = ""

    @model_validator(mode="after")
    def _whole_matrices(self) -> Self:
        if self.init == "pissa" and self.quantize != "none":
            raise ValueError(f"init pissa takes whole matrices apart and quantize {self.quantize} has none: give one of them")
        return self


class LoraConfig(LoraSettings):
    """LoRA (Hu et al. 2021) on every linear layer but the LM head."""

    name: Literal["lora"] = "lora"


class RsLoraConfig(LoraSettings):
    """rsLoRA (Kalajdzievski 2023): LoRA scaled by the square root of the rank."""

    name: Literal["rslora"] = "rslora"
    rslora: Literal[True] = True


class DoraConfig(LoraSettings):
    """DoRA (Liu et al. 2024): LoRA turns the weight's columns, a trained vector stretches them."""

    name: Literal["dora"] = "dora"
    dora: Literal[True] = True


class PissaConfig(LoraSettings):
    """PiSSA (Meng et al. 2024): LoRA that starts from the weight's largest singular directions."""

    name: Literal["pissa"] = "pissa"
    init: Literal["pissa"] = "pissa"


class LoraPlusConfig(LoraSettings):
    """LoRA+ (Hayou et al. 2024): the second matrix learns at a higher rate than the first."""

    name: Literal["lora_plus"] = "lora_plus"
    learning_rate: float = Field(5e-4, gt=0, description="of the first matrix (A), below LoRA's")
    learning_rate_ratio: float = Field(16.0, gt=0)


class QloraConfig(LoraSettings):
    """QLoRA (Dettmers et al. 2023): LoRA on a base that is kept in 4 bits (NF4 with double quantisation)."""

    name: Literal["qlora"] = "qlora"
    quantize: Literal["nf4"] = "nf4"


class VeraConfig(Config):
    """VeRA (Kopiczko et al. 2024): random frozen matrices, shared by all layers; two trained vectors for each layer."""

    name: Literal["vera"] = "vera"
    learning_rate: float = Field(2e-2, gt=0)
    vera_rank: int = Field(256, gt=0, description="of the shared random matrices; only the vectors beside them train")
    target_modules: Targets = Field("all-linear", description="or names of linear layers; the LM head is none of them")
    label: str = ""


class Ia3Config(Config):
    """IA3 (Liu et al. 2022): trained vectors that scale keys, values and what enters the MLP's last layer."""

    name: Literal["ia3"] = "ia3"
    learning_rate: float = Field(1e-2, gt=0)
    label: str = ""


class BottleneckConfig(Sized):
    """Bottleneck adapters (Houlsby et al. 2019): a narrow trained network on what each sub-layer adds to the stream."""

    size_key: ClassVar[str] = "bottleneck_size"
    name: Literal["bottleneck"] = "bottleneck"
    learning_rate: float = Field(1e-3, gt=0)
    bottleneck_size: int = Field(64, gt=0, description="width of the narrow layer")
    placement: Literal["houlsby", "pfeiffer"] = Field(
        "houlsby", description="after attention and MLP, or after the MLP alone (Pfeiffer et al. 2021)"
    )
    label: str = ""


class BitFitConfig(Config):
    """BitFit (Ben Zaken et al. 2022): the biases alone are trained. For families that have biases."""

    name: Literal["bitfit"] = "bitfit"
    learning_rate: float = Field(5e-3, gt=0)
    label: str = ""


class LnTuningConfig(Config):
    """LN-tuning (Qi et al. 2022): the weights and biases of the norms alone are trained."""

    name: Literal["ln_tuning"] = "ln_tuning"
    learning_rate: float = Field(5e-3, gt=0)
    label: str = ""


class PrefixTuningConfig(Sized):
    """Prefix-tuning (Li & Liang 2021): trained keys and values before the text, in every layer."""

    size_key: ClassVar[str] = "num_virtual_tokens"
    name: Literal["prefix_tuning"] = "prefix_tuning"
    learning_rate: float = Field(1e-2, gt=0)
    num_virtual_tokens: int = Field(20, gt=0)
    init: Literal["text", "zeros"] = Field("text", description="text: the keys and values of a real prompt's first tokens")
    init_text: str = Field("", description="the text to start from; default: the first training prompt")
    label: str = ""


class PromptTuningConfig(Sized):
    """Prompt-tuning (Lester et al. 2021): trained embeddings before the text."""

    size_key: ClassVar[str] = "num_virtual_tokens"
    name: Literal["prompt_tuning"] = "prompt_tuning"
    learning_rate: float = Field(1e-2, gt=0)
    num_virtual_tokens: int = Field(20, gt=0)
    init: Literal["text", "vocabulary"] = Field(
        "text", description="text: the embeddings of a real prompt's first tokens; vocabulary: of random tokens"
    )
    init_text: str = Field("", description="the text to start from; default: the first training prompt")
    label: str = ""


class PTuningConfig(Config):
    """P-tuning (Liu et al. 2021): embeddings before the text that a small trained network makes."""

    name: Literal["p_tuning"] = "p_tuning"
    learning_rate: float = Field(1e-3, gt=0)
    num_virtual_tokens: int = Field(20, gt=0)
    encoder: Literal["mlp", "lstm"] = Field("mlp", description="the network that makes the embeddings; it is not kept after training")
    encoder_hidden_size: int = Field(128, gt=0, description="its width")
    label: str = ""


MethodConfig = Annotated[
    FullConfig
    | LoraConfig
    | RsLoraConfig
    | DoraConfig
    | PissaConfig
    | LoraPlusConfig
    | QloraConfig
    | VeraConfig
    | Ia3Config
    | BottleneckConfig
    | BitFitConfig
    | LnTuningConfig
    | PrefixTuningConfig
    | PromptTuningConfig
    | PTuningConfig,
    Field(discriminator="name"),
]
METHOD_NAMES = (
    "full", "lora", "rslora", "dora", "pissa", "lora_plus", "qlora", "vera", "ia3", "bottleneck", "bitfit", "ln_tuning",
    "prefix_tuning", "prompt_tuning", "p_tuning",
)  # fmt: skip


def _named(value: Any) -> Any:
    return {"name": value} if isinstance(value, str) else value


Method = Annotated[MethodConfig, BeforeValidator(_named)]  # a method's name alone stands for its defaults
