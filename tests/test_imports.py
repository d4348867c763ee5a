"""How a process gets its libraries: the collector rests meanwhile, and torch's compiler waits until something is compiled."""

from __future__ import annotations

import gc
import importlib
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from codetune.imports import without_collecting
from codetune.methods.silent import compiling_later


def test_the_collector_rests_and_works_again() -> None:
    try:
        with without_collecting():
            assert not gc.isenabled()
        with pytest.raises(ImportError), without_collecting():
            importlib.import_module("nowhere_at_all")
        assert gc.isenabled()
        assert gc.get_freeze_count() > 0
    finally:
        gc.unfreeze()


def test_a_module_is_started_by_its_name_with_what_follows_it(tmp_path: Path) -> None:
    lines = ["import gc, sys", "loading = gc.isenabled()", "def main():", "    return [loading, gc.isenabled(), *sys.argv]"]
    (tmp_path / "asked.py").write_text("\n".join(lines))
    command = [sys.executable, "-m", "codetune.imports", "asked", "a"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr.strip()) == (1, "[False, True, 'asked', 'a']")


def test_what_is_compiled_while_peft_is_imported_is_compiled_when_it_is_called() -> None:
    real, ones, seen = torch.compile, torch.ones(2), list[bool]()

    def backend(graph: Any, inputs: Any) -> Any:
        seen.append(True)
        return graph.forward

    with compiling_later():
        double = torch.compile(lambda x: x + x, backend=backend)

        @torch.compile(backend=backend)
        def negated(x: torch.Tensor) -> torch.Tensor:
            return -x

    assert (torch.compile is real, seen, negated.__name__) == (True, [], "negated")
    assert [double(ones).tolist(), negated(ones).tolist(), double(ones).tolist()] == [[2, 2], [-1, -1], [2, 2]]
    assert seen == [True, True]


@pytest.mark.slow
def test_training_starts_without_torchs_code_generator() -> None:
    script = "import sys, codetune.cli.train; print('torch._inductor.compile_fx' in sys.modules)"
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", script], capture_output=True, text=True, timeout=120)
    assert done.stdout.splitlines() == ["False"], done.stderr
