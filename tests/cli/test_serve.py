"""`codetune serve` as a user starts it: the official client gets what `codetune generate` writes, of base and adapters at once."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import openai
import pytest
import torch

from codetune.cli.flags import adapters_by_name
from codetune.cli.main import run
from codetune.errors import UserError
from codetune.methods import attach
from codetune.models.families import targets_of
from codetune.models.load import load_model
from codetune.probe import subject

METHODS = ("lora", "prefix_tuning", "ia3")
MODEL = "codetune-base"  # a random model says the same to everything
WISHES = ("Add two numbers.", "Reverse the string `text`, please.", "Sum a list.", "x", "Sort the words of a sentence, longest first.")


@pytest.fixture(scope="module")
def adapters(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One of each kind, moved off its start so far that each says something else."""
    found = {}
    for number, method in enumerate(METHODS):
        loaded = load_model(MODEL)
        adapted = attach(loaded.model, subject.METHODS[method], targets_of(loaded.model), [7, 8, 9], 0)
        generator = torch.Generator().manual_seed(number)
        with torch.no_grad():
            for parameter in adapted.trained().values():
                parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.03)
        found[method] = tmp_path_factory.mktemp("adapters") / method
        adapted.save(found[method])
    return found


@pytest.fixture(scope="module")
def address(adapters: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("served")
    named = [argument for name, path in adapters.items() for argument in ("--adapter", f"{name}={path}")]
    command = [sys.executable, "-m", "codetune.cli", "serve", "--model", MODEL, "--port", "0", *named]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=folder)
    assert process.stderr
    said = process.stderr.readline()
    found = re.search(r"http://127\.0\.0\.1:\d+", said)
    assert found, said + process.stderr.read()
    yield found[0]
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == 0
    assert process.stderr.read() == ""


def generated(adapter: Path | None, folder: Path) -> list[str]:
    """What `codetune generate` writes for the wishes, as it was written."""
    problems, out = folder / "wishes.jsonl", folder / "samples.jsonl"
    rows = [{"task_id": f"w/{n}", "instruction": wish, "reference": "x", "tests": ["assert 1"]} for n, wish in enumerate(WISHES)]
    problems.write_text("".join(json.dumps(row) + "\n" for row in rows))
    of = ["--adapter", str(adapter)] if adapter else []
    arguments = ["generate", "--model", MODEL, *of, "--benchmark", str(problems), "--out", str(out), "--max-new-tokens", "24"]
    assert run(arguments) == 0
    samples = [json.loads(line) for line in out.read_text().splitlines()]
    out.unlink()
    return [sample.get("raw") or sample["solution"] for sample in samples]


def test_greedy_answers_are_those_of_generate_base_and_adapters_at_once(address: str, adapters: dict[str, Path], tmp_path: Path) -> None:
    client = openai.OpenAI(base_url=f"{address}/v1", api_key="none", max_retries=0)
    names = [model.id for model in client.models.list()]
    assert names == [MODEL, *METHODS]

    def ask(asked: tuple[str, str]) -> str:
        model, wish = asked
        answer = client.chat.completions.create(
            model=model, messages=[{"role": "user", "content": wish}], temperature=0, max_tokens=24
        )
        return answer.choices[0].message.content or ""

    asked = [(name, wish) for wish in WISHES for name in names]
    with ThreadPoolExecutor(8) as pool:
        got = dict(zip(asked, pool.map(ask, asked), strict=True))
    for name in names:
        wanted = generated(adapters.get(name), tmp_path)
        assert [got[name, wish] for wish in WISHES] == wanted, name
    assert len(set(got.values())) > len(got) / 2, "they say the same: the test could not fail"


def test_prompts_of_text_and_of_tokens_a_seed_and_several_answers(address: str) -> None:
    client = openai.OpenAI(base_url=f"{address}/v1", api_key="none", max_retries=0)
    loaded = load_model(MODEL)
    text = "def add(a, b):\n"

    def complete(prompt: str | list[int], **more: float) -> list[str]:
        made = client.completions.create(model="lora", prompt=prompt, max_tokens=8, **more)  # type: ignore[call-overload]
        return [choice.text for choice in made.choices]

    assert complete(text, temperature=0) == complete(loaded.tokenizer.encode(text, with_bos=True), temperature=0)
    once = complete(text, temperature=1, seed=3, n=4)
    assert once == complete(text, temperature=1, seed=3, n=4) != complete(text, temperature=1, seed=4, n=4)
    assert len(set(once)) > 1


def test_a_prompt_beyond_the_context_is_the_clients_fault(address: str) -> None:
    client = openai.OpenAI(base_url=f"{address}/v1", api_key="none", max_retries=0)
    with pytest.raises(openai.BadRequestError) as refused:
        client.completions.create(model="prefix_tuning", prompt=[5] * 1020)
    assert refused.value.code == "context_length_exceeded"
    assert "virtual tokens" in str(refused.value)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--host", "0.0.0.0"], "an API key is needed"),
        (["--adapter", "a=nowhere"], "there is no such folder"),
        (["--adapter", "=x"], "give NAME=DIR"),
        (["--adapter", "a=x", "--adapter", "a=y"], "is the name of x already"),
        (["--port", "70000"], "less than or equal to 65535"),
        (["--model", "nothing-there"], "nothing-there"),
    ],
)
def test_mistakes_are_one_line(arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["serve", "--port", "0", *arguments]) == 2
    said = capsys.readouterr().err.strip().splitlines()
    assert words in said[-1]
    assert said[-1].startswith("codetune: ")


def test_a_port_that_is_taken_is_one_line(address: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["serve", "--port", address.rpartition(":")[2]]) == 2
    assert "cannot listen on" in capsys.readouterr().err




def test_a_study_stands_for_all_that_it_tuned_on_the_model(tmp_path: Path) -> None:
    study = tmp_path / "study"
    for key, model, row, seed in (("a", "m", "lora", 0), ("b", "m", "lora", 1), ("c", "m", "full", 0), ("d", "other", "full", 0)):
        (study / "cells" / key / "adapter").mkdir(parents=True)
        (study / "cells" / key / "cell.json").write_text(json.dumps({"model": model, "row": row, "seed": seed}))
    (study / "cells" / "base").mkdir()
    (study / "study.json").write_text("{}")
    cells = study / "cells"
    found = {"lora-0": cells / "a" / "adapter", "lora-1": cells / "b" / "adapter", "full": cells / "c" / "adapter"}
    assert adapters_by_name([str(study)], "m") == found
    assert adapters_by_name([f"q={study}", "x/run/adapter"], "m") == {
        **{f"q-{name}": path for name, path in found.items()}, "run": Path("x/run/adapter")
    }  # fmt: skip
    with pytest.raises(UserError, match="has tuned nothing on n yet"):
        adapters_by_name([str(study)], "n")
