"""Names of models: short ones for what the field compares, folders, and hub ids."""

from __future__ import annotations

from pathlib import Path

from codetune.errors import UserError, nearest

SHIPPED = {"codetune-base": Path(__file__).parent.parent / "assets" / "codetune-base"}
ALIASES = {
    "gpt2": "openai-community/gpt2",
    "gpt2-medium": "openai-community/gpt2-medium",
    "gpt2-large": "openai-community/gpt2-large",
    "gpt2-xl": "openai-community/gpt2-xl",
    "codegpt": "microsoft/CodeGPT-small-py",
    "codegpt-adapted": "microsoft/CodeGPT-small-py-adaptedGPT2",
    "falcon-7b": "tiiuae/falcon-7b",
    "falcon-7b-instruct": "tiiuae/falcon-7b-instruct",
    "mistral-7b": "mistralai/Mistral-7B-v0.1",
    "mistral-7b-instruct": "mistralai/Mistral-7B-Instruct-v0.1",
    **{
        f"codellama-{size}{kind}": f"codellama/CodeLlama-{size}{ending}-hf"
        for size in ("7b", "13b", "34b")
        for kind, ending in (("", ""), ("-python", "-Python"), ("-instruct", "-Instruct"))
    },
    "llama-2-7b": "meta-llama/Llama-2-7b-hf",
    "llama-2-13b": "meta-llama/Llama-2-13b-hf",
    "llama-3-8b": "meta-llama/Meta-Llama-3-8B",
    "llama-3.1-8b": "meta-llama/Llama-3.1-8B",
    "llama-3.2-1b": "meta-llama/Llama-3.2-1B",
    "llama-3.2-3b": "meta-llama/Llama-3.2-3B",
    **{f"codegen-{size.lower()}": f"Salesforce/codegen-{size}-mono" for size in ("350M", "2B", "6B", "16B")},
    **{f"qwen2.5-coder-{size.lower()}": f"Qwen/Qwen2.5-Coder-{size}" for size in ("0.5B", "1.5B", "3B", "7B", "14B", "32B")},
    **{f"qwen3-{size.lower()}": f"Qwen/Qwen3-{size}-Base" for size in ("0.6B", "1.7B", "4B", "8B", "14B")},
    "qwen2.5-7b": "Qwen/Qwen2.5-7B",
    **{f"starcoder2-{size}": f"bigcode/starcoder2-{size}" for size in ("3b", "7b", "15b")},
    "starcoder": "bigcode/starcoder",
    "starcoderbase-1b": "bigcode/starcoderbase-1b",
    "santacoder": "bigcode/gpt_bigcode-santacoder",
    **{f"deepseek-coder-{size}": f"deepseek-ai/deepseek-coder-{size}-base" for size in ("1.3b", "6.7b", "33b")},
    "phi-1": "microsoft/phi-1",
    "phi-1.5": "microsoft/phi-1_5",
    "phi-2": "microsoft/phi-2",
    "gpt-neox-20b": "EleutherAI/gpt-neox-20b",
    "pythia-160m": "EleutherAI/pythia-160m",
    "pythia-1.4b": "EleutherAI/pythia-1.4b",
    "codet5-small": "Salesforce/codet5-small",
    "codet5-base": "Salesforce/codet5-base",
    "codet5-large": "Salesforce/codet5-large",
    "codet5p-220m": "Salesforce/codet5p-220m",
    "codet5p-770m": "Salesforce/codet5p-770m",
    "plbart-base": "uclanlp/plbart-base",
}


def resolve(name: str) -> str:
    """A folder or a hub id for a model's name. Raises UserError for an unknown bare name."""
    if name in SHIPPED:
        return str(SHIPPED[name])
    if name in ALIASES:
        return ALIASES[name]
    if Path(name).is_dir():
        if not (Path(name) / "config.json").exists():
            raise UserError(f"no model in folder {name}: it has no config.json")
        return name
    if name.count("/") == 1 and not name.startswith((".", "/", "~")):
        return name
    raise UserError(f"no model {name!r}: {nearest(name, [*SHIPPED, *ALIASES])}, or a folder, or a hub id such as org/name")
