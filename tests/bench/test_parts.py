"""Benchmarks in parts, through real processes: what is kept, skipped, cut short, tried again, and what a kill leaves."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from bench.parts import Part, chosen, record_at, remaining
from codetune.errors import UserError

JOB = """
import json, os, subprocess, sys, time
{more}
def main(path):
    job = json.loads(path.read_text())
    with open(job["log"], "a") as log:
        print(job["do"], os.getpid(), file=log)
    if job["do"] == "wait":
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
        with open(job["log"], "a") as log:
            print("child", child.pid, file=log)
        time.sleep(60)
    if job["do"] == "fail":
        raise ValueError("no room")
    if job["do"] == "die":
        os.kill(os.getpid(), 9)
    print("noise")
    print(json.dumps({{"value": job["do"], "parent": os.getppid()}}))
"""
COMMAND = """
import argparse, json, sys
from pathlib import Path
from bench import parts
from bench.children import Host
parser = argparse.ArgumentParser()
parts.add_arguments(parser, "")
options = parser.parse_args(sys.argv[2:])
given = json.loads(Path(sys.argv[1]).read_text())
every = parts.chosen([parts.Part(**one) for one in given["parts"]], options.only)
record = parts.record_at(options.out, {"machine": {"gpu": "none"}}, measuring=True)
host = Host(Path(sys.executable), given["modules"])
left = parts.measure(every, record, options.out, {"ours": host}, options, lambda part, kept: kept["measured"]["value"])
host.close()
print(parts.remaining(left))
"""


class Bench:
    """A command over parts that do as they are told, in a folder of its own."""

    def __init__(self, folder: Path, *todo: str, more: str = "", forked: bool = True, limit_s: float = 30.0) -> None:
        self.folder, self.log, self.out = folder, folder / "log", folder / "out.json"
        (folder / "told_job.py").write_text(JOB.format(more=more))
        (folder / "command.py").write_text(COMMAND)
        planned = [
            {"group": "g", "name": f"{number} {do}", "module": "told_job", "job": {"do": do, "log": str(self.log)}, "expected_s": 0.1,
             "limit_s": limit_s} for number, do in enumerate(todo)
        ]  # fmt: skip
        (folder / "plan.json").write_text(json.dumps({"parts": planned, "modules": ["told_job"] if forked else []}))

    def begin(self, *options: str) -> subprocess.Popen[str]:
        paths = os.pathsep.join([str(self.folder), str(Path(__file__).parents[2])])
        command = [sys.executable, str(self.folder / "command.py"), str(self.folder / "plan.json"), "--out", str(self.out), *options]
        pipe = subprocess.PIPE
        return subprocess.Popen(command, env=os.environ | {"PYTHONPATH": paths}, stdout=pipe, stderr=pipe, text=True)

    def run(self, *options: str) -> tuple[str, str]:
        """stdout and stderr."""
        with self.begin(*options) as process:
            said = process.communicate(timeout=60)
        assert process.returncode == 0, said[1]
        return said

    @property
    def parts(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.out.read_text())["parts"]
        return found

    def ran(self) -> list[str]:
        return [line.split()[0] for line in self.log.read_text().splitlines()]


def gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def wait_for(done: Any) -> None:
    until = time.monotonic() + 20
    while not done():
        assert time.monotonic() < until
        time.sleep(0.02)


@pytest.mark.parametrize("forked", [True, False])
def test_parts_run_once_each_in_a_process_of_its_own_and_failures_again_only_when_asked(tmp_path: Path, forked: bool) -> None:
    made = Bench(tmp_path, "one", "fail", "die", "two", forked=forked)
    _, told = made.run()
    assert "1/4 g 0 one: one;" in told
    assert [made.parts[name].get("failed") for name in ("1 fail", "2 die")] == ["ValueError: no room", "ended with exit code -9 (memory?)"]
    parents = {made.parts[name]["measured"]["parent"] for name in ("0 one", "3 two")}
    assert len(parents) == 1  # the host that both were forked from, or the command itself
    assert len({line.split()[1] for line in made.log.read_text().splitlines()}) == 4
    before = made.out.read_bytes()
    assert made.run() == ("\n", "")
    assert made.out.read_bytes() == before
    made.run("--again", "--only", "fail")
    assert made.ran() == ["one", "fail", "die", "two", "fail"]


def test_a_part_that_takes_too_long_has_failed_and_nothing_of_it_goes_on(tmp_path: Path) -> None:
    made = Bench(tmp_path, "wait", "one", limit_s=0.8)
    made.run()
    assert (made.parts["0 wait"]["failed"], made.parts["1 one"]["measured"]["value"]) == ("not done in 1 s", "one")
    pids = [int(line.split()[1]) for line in made.log.read_text().splitlines()[:2]]
    wait_for(lambda: all(map(gone, pids)))


def test_the_limit_of_the_whole_command_cuts_a_part_short_which_is_no_failure(tmp_path: Path) -> None:
    made = Bench(tmp_path, "one", "wait", "two")
    said, told = made.run("--time-limit", "4")
    assert "1 wait: cut short by --time-limit" in told
    assert "2 parts are left" in said
    assert list(made.parts) == ["0 one"]
    cut = json.loads(made.out.read_text())["cut"]
    assert 0 < cut["1 wait"] < 4
    made.run("--time-limit", str(1 + cut["1 wait"]))  # as much as it had: it is not even begun, the next one is
    assert made.ran().count("wait") == 1
    assert list(made.parts) == ["0 one", "2 two"]


def test_after_a_kill_nothing_is_lost_nothing_goes_on_and_the_same_command_does_the_rest(tmp_path: Path) -> None:
    made = Bench(tmp_path, "one", "wait", "two")
    with made.begin() as process:
        wait_for(lambda: made.log.exists() and "child" in made.ran())
        process.send_signal(signal.SIGKILL)
    waiting = int(made.log.read_text().splitlines()[1].split()[1])
    wait_for(lambda: gone(waiting))
    assert list(made.parts) == ["0 one"]
    made.run("--only", "two")
    assert made.ran() == ["one", "wait", "child", "two"]
    assert list(made.parts) == ["0 one", "2 two"]
    os.kill(int(made.log.read_text().splitlines()[2].split()[1]), signal.SIGKILL)


def test_where_an_import_has_touched_the_gpu_parts_are_started_anew(tmp_path: Path) -> None:
    (tmp_path / "torch.py").write_text("import os, types\nhere = os.getpid()\n"
                                       "cuda = types.SimpleNamespace(_is_in_bad_fork=lambda: os.getpid() != here)\n")  # fmt: skip
    made = Bench(tmp_path, "one", "two", more="import torch")
    _, told = made.run()
    assert told.count("an import touches the GPU") == 1
    assert [kept["measured"]["value"] for kept in made.parts.values()] == ["one", "two"]
    assert made.ran() == ["one", "two"]


def part(group: str, name: str) -> Part:
    return Part(group, name, "m", {})


def test_parts_are_chosen_by_their_words() -> None:
    every = [part("memory", "gpt2 lora TRL, no checkpointing"), part("memory", "gpt2 full"), part("speed", "gpt2-lora TRL")]
    assert [one.name for one in chosen(every, "memory TRL, full")] == ["gpt2 lora TRL, no checkpointing", "gpt2 full"]
    assert chosen(every, "") == every
    with pytest.raises(UserError, match="--only ful: no part has this word: did you mean 'full'"):
        chosen(every, "memory ful")
    with pytest.raises(UserError, match="no part has all these words"):
        chosen(every, "speed full")
    assert remaining(every[:2]) == "2 parts are left, about 20 s: give the same command again"


def test_a_record_of_another_machine_is_added_to_by_none(tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    out.write_text(json.dumps({"machine": {"gpu": "H200"}, "parts": {"x": {}}}))
    fresh = {"machine": {"gpu": "none"}}
    with pytest.raises(UserError, match=r"was measured with machine\.gpu 'H200', and here it is 'none': choose another --out"):
        record_at(out, fresh, measuring=True)
    assert record_at(out, fresh, measuring=False)["parts"] == {"x": {}}
