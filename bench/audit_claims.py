"""The claims of docs/studies/audit.md, each recomputed: what `python -m bench audit` prints.

No training and no download. Claims about data sets read them from the folder that CODETUNE_DATA names.
"""

from __future__ import annotations

import ast
import builtins
import symtable
import textwrap
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from bench.audit_positions import padding_error, row_error
from codetune.config import LoraConfig, MethodConfig, PrefixTuningConfig, PromptTuningConfig
from codetune.data import benchmarks
from codetune.data.benchmarks import Benchmark
from codetune.data.codexglue import problem
from codetune.data.files import read_rows
from codetune.data.sources.locate import data_folder
from codetune.errors import UserError
from codetune.models.outline import Outline, outline_of, trained_parameters, without_data
from codetune.models.published import published_config
from codetune.records import AssertTest
from codetune.score import sacre
from codetune.score.bleu import CONALA, bleu
from codetune.score.codebleu import count_pair
from codetune.score.loads import score_loads
from codetune.score.statistics import wilson_interval
from codetune.score.verdicts import open_checker
from codetune.study.published import Figure, published

ROWS = "codesearchnet_python/train_sample_raw.jsonl"  # real rows of CodeXGLUE's Python
_SIZES = {"GPT-2 124M": "gpt2", "GPT-2 355M": "gpt2-medium", "GPT-2 774M": "gpt2-large", "GPT-2 1.6B": "gpt2-xl"}
_SIZES |= {"CodeLlama-7B": "codellama-7b", "Mistral-7B": "mistral-7b"}
_METHODS: dict[str, MethodConfig] = {
    "lora": LoraConfig(lora_rank=16), "prefix_tuning": PrefixTuningConfig(num_virtual_tokens=20),
    "prompt_tuning": PromptTuningConfig(num_virtual_tokens=20),
}  # fmt: skip
# Three references of CoNaLa's and three answers, of which two differ in a word each.
REFERENCES = (
    "sorted(l, key=lambda x: (-int(x[1]), x[0]))", "os.kill(os.getpid(), signal.SIGUSR1)", "df['a'] = df['b'].apply(lambda x: x + 1)",
)  # fmt: skip
ANSWERS = (
    "sorted(l, key=lambda x: (int(x[1]), x[0]))", "os.kill(os.getpid(), signal.SIGTERM)", "df['a'] = df['b'].map(lambda x: x + 1)",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Finding:
    """What a claim came to: numbers by name, and the lines that say them."""

    lines: tuple[str, ...]
    numbers: dict[str, float] = field(default_factory=dict)


def empties() -> Finding:
    """CodeBLEU .25 is what the codebleu package gives to an empty completion wherever a reference has no data flow."""
    problems = _loaded("conala").problems
    flowless = sum(not count_pair("", [each.reference])[31] for each in problems)
    share = flowless / len(problems)
    figures = [figure for figure in published("conala").figures if figure.metric == "conala:codebleu"]
    printed = [f"{figure.model} {figure.row} {figure.printed}" for figure in figures]
    return Finding(
        (
            f"printed CodeBLEU beside a BLEU of 0 to .00035: {', '.join(printed)}",
            f"CoNaLa: {flowless} of {len(problems)} test references have no data flow ({share:.1%}): for them that part is undefined",
            "package codebleu 0.7.0 counts undefined as 1: an empty completion then has 0, 0, 0 and 1 for the four parts, .25 in all",
            "Microsoft's rule, and ours: undefined counts 0, an empty completion scores 0",
            f"empty completions for all of CoNaLa would average {0.25 * share:.4f} pair by pair; .25 is their score where no flow is found",
        ),
        {"flowless": flowless, "problems": len(problems), "average": 0.25 * share},
    )


def shares() -> Finding:
    """Trained shares, over base plus adapter as PEFT prints them, from the models' shapes."""
    lines, numbers = [], {}
    wanted = [figure for figure in published("conala").figures if figure.metric == "trainable_share"]
    for model in dict.fromkeys(figure.model for figure in wanted):
        outline = outline_of(without_data(published_config(_SIZES[model])))
        for figure in (each for each in wanted if each.model == model):
            numbers[f"{model} {figure.row}"] = share = _share(outline, _METHODS[figure.row])
            agreement = _agreement(outline, figure)
            lines.append(f"{model:13} {figure.row:14} printed {figure.printed:>6}  recomputed {100 * share:.4f}%  {agreement}")
        if model == "GPT-2 124M":
            numbers[f"{model} c_attn"] = alone = _share(outline, LoraConfig(lora_rank=16, target_modules=("c_attn",)))
            lines.append(f"{model:13} {'lora':14} on c_attn alone:  recomputed {100 * alone:.4f}%  which is what is printed")
    return Finding(tuple(lines), numbers)


def _share(outline: Outline, method: MethodConfig) -> float:
    trained = trained_parameters(outline, method)
    return trained / (outline.parameters + trained)


def _agreement(outline: Outline, figure: Figure) -> str:
    """Whether a share is as printed, in as many digits; also when it is taken over the base alone."""
    digits = len(figure.printed.rstrip("%").partition(".")[2])
    ways = {"as printed": _share(outline, _METHODS[figure.row])}
    ways["as printed, but over the base alone"] = trained_parameters(outline, _METHODS[figure.row]) / outline.parameters
    printed = f"{100 * figure.value:.{digits}f}"
    return next((way for way, share in ways.items() if f"{100 * share:.{digits}f}" == printed), "NOT as printed")


def positions() -> Finding:
    """What PEFT's dropped positions do to soft prompts, on a random GPT-2 of two layers in float64."""
    packed, exact = row_error()
    padded = padding_error()
    return Finding(
        (
            f"prompt-tuning, two documents in a row, PEFT: logits of the second off by {packed:.2g} (relative)",
            f"the same row here (4-D mask, positions restarted): losses off by {exact:.1g}",
            f"prompt-tuning, a short prompt batched with a long one, PEFT: logits of the short one off by {padded:.2g}",
        ),
        {"packed": packed, "exact": exact, "padded": padded},
    )


def assessors() -> Finding:
    """HumanEval is judged by tests, not by people; MBPP is programs with asserts, no probing suite."""
    human, mbpp = _loaded("humaneval"), _loaded("mbpp-all")
    keys = sorted(read_rows(_folder() / "humaneval/HumanEval.jsonl.gz")[0].values)
    tested = [sum(bool(each.tests) for each in benchmark.problems) for benchmark in (human, mbpp)]
    asserts = [sum(isinstance(test, AssertTest) for test in each.tests) for each in mbpp.problems]
    return Finding(
        (
            f"HumanEval: {len(human.problems)} problems, keys {', '.join(keys)}; {tested[0]} have a test program, none has a judgement",
            f"MBPP: {len(mbpp.problems)} problems, {tested[1]} with asserts to run, at least {min(asserts)} each; nothing probes a model",
        ),
        {"humaneval": len(human.problems), "humaneval tested": tested[0], "mbpp": len(mbpp.problems), "mbpp tested": tested[1]},
    )


def tokenisers() -> Finding:
    """One set of answers has three BLEUs."""
    pairs = [(answer, [reference]) for answer, reference in zip(ANSWERS, REFERENCES, strict=True)]
    found = {"CoNaLa's own (Ling et al. 2016)": 100 * bleu(pairs, CONALA)}
    found |= {name: 100 * sacre.corpus_score(key, pairs) for name, key in (("13a", "bleu_13a"), ("white space", "bleu_whitespace"))}
    return Finding(tuple(f"BLEU {value:8.4f}  tokens: {name}" for name, value in found.items()), found)


def syntax() -> Finding:
    """What a pass rate on CodeXGLUE's Python rows can measure, by what its references reach."""
    problems = [problem(row, f"CodeXGLUE/{number}") for number, row in enumerate(read_rows(_folder() / ROWS))]
    programs = [textwrap.dedent(each.reference_program) for each in problems]
    with open_checker() as sandbox:
        loaded, _ = score_loads([(each.reference_program, each) for each in problems], sandbox)
    found = {
        "references": len(problems), "parse": sum(map(_parses, programs)), "execute": round(loaded.loads * len(problems)),
        "methods": sum(map(_is_method, programs)), "doctests": loaded.doctest_problems, "stand alone": sum(map(_stands_alone, programs)),
    }  # fmt: skip
    said = ", ".join(f"{count} {name}" for name, count in found.items())
    return Finding((f"CodeXGLUE Python, a sample of its training rows: {said}", "a pass rate there is a rate of parsing"), found)


def spans() -> Finding:
    """The same model in print, and what 164 problems can tell apart."""
    lines, numbers = [], {}
    for figure in published("interview").figures:
        assert figure.high is not None
        trials = 164 if figure.metric.startswith("humaneval") else 500
        low, high = (wilson_interval(round(value * trials), trials) for value in (figure.value, figure.high))
        overlap = low.high >= high.low
        benchmark = figure.metric.partition(":")[0]
        numbers |= {f"{benchmark} low": low.high, f"{benchmark} high": high.low}
        width = f"{low.low:.1%} to {low.high:.1%} and {high.low:.1%} to {high.high:.1%}"
        word = "they overlap, so 164 problems cannot tell them apart" if overlap else "they do not overlap: the conditions differ, not luck"
        lines.append(f"{figure.model} on {benchmark}: printed {figure.printed}%; 95% intervals of the ends {width}: {word}")
    return Finding(tuple(lines), numbers)


CLAIMS: dict[str, Callable[[], Finding]] = {
    "empties": empties, "shares": shares, "positions": positions, "assessors": assessors, "tokenisers": tokenisers, "syntax": syntax,
    "spans": spans,
}  # fmt: skip


def _folder() -> Path:
    folder = data_folder()
    if folder is None:
        raise UserError("CODETUNE_DATA is not set; set it to the folder that holds the data sets")
    return folder


def _loaded(name: str) -> Benchmark:
    return benchmarks.load(name)


def _parses(program: str) -> bool:
    try:
        ast.parse(program)
    except (SyntaxError, ValueError):
        return False
    return True


def _is_method(program: str) -> bool:
    """By its first parameter's name, as the class around it is not in the row."""
    if not _parses(program):
        return False
    function = next((node for node in ast.walk(ast.parse(program)) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)), None)
    first = [each.arg for each in (*function.args.posonlyargs, *function.args.args)][:1] if function else []
    return first in (["self"], ["cls"])


def _stands_alone(program: str) -> bool:
    """Whether a function can be called: no method, and every name it uses is its own, its module's or Python's."""
    if not _parses(program) or _is_method(program):
        return False
    top = symtable.symtable(program, "row", "exec")
    return _globals(top) <= {symbol.get_name() for symbol in top.get_symbols() if symbol.is_assigned()} | set(dir(builtins))


def _globals(table: symtable.SymbolTable) -> set[str]:
    used = {symbol.get_name() for symbol in table.get_symbols() if symbol.is_referenced() and symbol.is_global()}
    return used.union(*map(_globals, table.get_children()))
