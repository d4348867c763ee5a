"""Recipes: the typed, checked form of the YAML files that say what to run.

`load_recipe(path, kind, overrides)` reads one; every fault in it is reported at once, in one line each, with the nearest valid name.
A recipe is plain data: `recipe.model_dump(mode="json")` is what a run folder keeps and what its key is the hash of.
"""

from codetune.config.loading import content_hash, is_recipe, load_recipe, load_tree, recipe_path, shipped_recipes, validate
from codetune.config.measures import MeasuresConfig
from codetune.config.methods import (
    METHOD_NAMES,
    BitFitConfig,
    BottleneckConfig,
    DoraConfig,
    FullConfig,
    Ia3Config,
    LnTuningConfig,
    LoraConfig,
    LoraPlusConfig,
    LoraSettings,
    MethodConfig,
    PissaConfig,
    PrefixTuningConfig,
    PromptTuningConfig,
    PTuningConfig,
    QloraConfig,
    RsLoraConfig,
    Sized,
    VeraConfig,
)
from codetune.config.recipes import TrainRecipe, listed
from codetune.config.sections import (
    Architecture,
    Config,
    DataConfig,
    DecodingConfig,
    DecontaminateConfig,
    Device,
    InfillingConfig,
    LossOn,
    Precision,
    Quantize,
    Style,
)
from codetune.config.study import BroughtRow, BudgetConfig, ModelConfig, StudyRecipe
from codetune.config.training import (
    CHANGES_NO_RESULT,
    CHANGES_ROUNDING,
    Packing,
    SamplesConfig,
    SearchConfig,
    Tracker,
    TrainConfig,
    TrainPrecision,
)

__all__ = [
    "CHANGES_NO_RESULT", "CHANGES_ROUNDING", "METHOD_NAMES", "Architecture", "BitFitConfig", "BottleneckConfig", "BroughtRow",
    "BudgetConfig", "Config", "DataConfig", "DecodingConfig", "DecontaminateConfig", "Device", "DoraConfig", "FullConfig", "Ia3Config",
    "InfillingConfig", "LnTuningConfig", "LoraConfig", "LoraPlusConfig", "LoraSettings", "LossOn", "MeasuresConfig", "MethodConfig",
    "ModelConfig", "PTuningConfig", "Packing", "PissaConfig", "Precision", "PrefixTuningConfig", "PromptTuningConfig", "QloraConfig",
    "Quantize", "RsLoraConfig", "SamplesConfig", "SearchConfig", "Sized", "StudyRecipe", "Style", "Tracker", "TrainConfig",
    "TrainPrecision", "TrainRecipe", "VeraConfig", "content_hash", "is_recipe", "listed", "load_recipe", "load_tree", "recipe_path",
    "shipped_recipes", "validate",
]  # fmt: skip
