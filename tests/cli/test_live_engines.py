"""`--engine openai` and `--engine vllm` where answers come live: mended over a real server, and every refusal in one line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from codetune.cli.flags import LiveFlags, ServedFlags
from codetune.cli.live import open_live_engine
from codetune.cli.main import run
from codetune.errors import UserError
from codetune.generate.fake_live import FakeLiveEngine
from codetune.serve.assistant import Assistant
from codetune.serve.settings import ServeSettings
from tests.serve.running_server import serving

KEY = "a-key-of-the-server"
ANSWER = "```python\ndef add(a, b):\n    return a + b\n```"


def test_a_file_is_mended_over_a_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """The first model that it lists answers where none is named; the key is in no output."""
    monkeypatch.setenv("CODETUNE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("MY_KEY", KEY)
    monkeypatch.chdir(tmp_path)
    Path("sums.py").write_text("def add(a, b):\n    return a - b\n")
    Path("test_sums.py").write_text("assert add(1, 2) == 3\nassert add(2, 2) == 4\n")
    fake = FakeLiveEngine(lambda ask, index: ANSWER, ("big", "small"))
    with serving(Assistant(fake, ServeSettings(api_key=KEY))) as url:
        server = ["--engine", "openai", "--base-url", f"{url}/v1", "--api-key-env", "MY_KEY"]
        assert run(["mend", "sums.py", "--tests", "test_sums.py", "--write", *server, "--model", "small", "--max-new-tokens", "99"]) == 0
        assert Path("sums.py").read_text() == "def add(a, b):\n    return a + b\n"
        flags = LiveFlags(engine="openai", base_url=f"{url}/v1", api_key_env="MY_KEY")
        assert [model.name for model in open_live_engine(flags).models()] == ["big", "small"]
        with pytest.raises(UserError, match=r"refuses the key in OPENAI_API_KEY|asks for a key"):
            open_live_engine(LiveFlags(engine="openai", base_url=f"{url}/v1"))
    assert [(ask.model, ask.decoding.max_new_tokens) for ask in fake.asked] == [("small", 99)]
    shown = capsys.readouterr()
    assert "asking small" in shown.err
    assert KEY not in shown.err + shown.out


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (LiveFlags(engine="vlm"), "no engine 'vlm': did you mean 'vllm'?"),
        (ServedFlags(engine="openai"), "--engine openai needs --base-url"),
        (LiveFlags(engine="openai", base_url="http://h", api_key_env="NOT_SET"), "--api-key-env NOT_SET: no such"),
        (LiveFlags(engine="openai", base_url="http://h", adapter=["x", "y"]), "--adapter x goes with --engine own or vllm, not"),
        (ServedFlags(engine="vllm", quantize="nf4"), "--quantize nf4 goes with --engine own, not with vllm"),
        (ServedFlags(base_url="http://h"), "--base-url http://h goes with --engine openai, not with own"),
        (LiveFlags(engine="vllm"), "--engine vllm needs vLLM ("),
    ],
)
def test_engines_and_their_flags(flags: LiveFlags | ServedFlags, says: str) -> None:
    with pytest.raises(UserError) as raised:
        open_live_engine(flags)
    assert str(raised.value).startswith(says)


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ({"peft_type": "PREFIX_TUNING"}, "it serves LoRA adapters only, not prefix_tuning"),
        ({"peft_type": "LORA", "r": 8, "use_dora": True}, "it has no DoRA"),
        (None, "a whole model is no adapter"),
    ],
)
def test_vllm_is_not_started_for_adapters_that_it_would_not_load(config: dict[str, object] | None, says: str, tmp_path: Path) -> None:
    """A LoRA that it would load comes as far as the missing package."""
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"model_type": "llama", "architectures": ["LlamaForCausalLM"]}))
    if config is not None:
        (folder / "adapter_config.json").write_text(json.dumps(config))
        save_file({"base_model.model.x.lora_A.weight": np.zeros((1, 1), dtype=np.float32)}, folder / "adapter_model.safetensors")
    with pytest.raises(UserError, match=rf"--adapter mine: vLLM would not load it: {says}\. --engine own serves it"):
        open_live_engine(ServedFlags(engine="vllm", adapter=[str(folder)]))
    (folder / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "r": 8}))
    save_file({"base_model.model.x.lora_A.weight": np.zeros((1, 1), dtype=np.float32)}, folder / "adapter_model.safetensors")
    with pytest.raises(UserError, match="needs vLLM"):
        open_live_engine(ServedFlags(engine="vllm", adapter=[str(folder)]))
