"""Attacks on this machine's sandbox, of known outcome: some when a sandbox starts, all of them by `codetune doctor`."""

from __future__ import annotations

import os
import tempfile
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from codetune.records import AssertTest, Problem, ProgramResult, Verdict

Check = Callable[[Iterable[tuple[str, Problem]]], Iterator[ProgramResult]]


class Finding(NamedTuple):
    """One property: whether it held, and what was seen."""

    name: str
    held: bool
    seen: str


class Attack(NamedTuple):
    """The body of a function `f` whose result would be `True` if the attack went through. Braces name places on the host."""

    name: str
    body: str
    timeout_s: float = 1.0


AT_START = (
    Attack("network: TCP socket refused", "import socket; socket.socket(); return True"),
    Attack("network: UDP socket refused", "import socket; socket.socket(socket.AF_INET, socket.SOCK_DGRAM); return True"),
    Attack("files: home not readable", "import os; os.listdir({home!r}); return True"),
    Attack("files: /etc/shadow, /etc/passwd not readable", "return bool(open('/etc/passwd').read() or open('/etc/shadow').read())"),
    Attack("files: other processes not readable", "import os; return bool(open('/proc/%d/environ' % os.getppid(), 'rb'))"),
    Attack("files: nothing written outside the scratch folder", "open({mark!r}, 'w').write('x'); return True"),
    Attack("files: modes of outside files stay", "import os; os.chmod({victim!r}, 0o777); return True"),
    Attack("files: outside files not removed", "import os; os.unlink({victim!r}); return True"),
    Attack("processes: no fork", "import os; return os.fork() >= 0"),
    Attack("processes: no program started", "import os; os.execv('/bin/true', ['true'])"),
    Attack("processes: the parent cannot be killed", "import os; os.kill(os.getppid(), 9); return True"),
    Attack("processes: no group signal", "import os; os.kill(-1, 9); return True"),
    Attack("verdict: os._exit(0) is no pass", "import os; os._exit(0)"),
    Attack("verdict: sys.exit(0) is no pass", "import sys; sys.exit(0)"),
    Attack("verdict: an __eq__ that says True is no pass", "return type('Yes', (), {{'__eq__': lambda a, b: True}})()"),
)
SLOW = (
    Attack("verdict: an endless sleep is stopped", "import time; time.sleep(1e6)", 0.2),  # first, so that others run meanwhile
    Attack("limits: 3 GiB refused", "return bool(bytearray(3 << 30))"),
    Attack("limits: 300 MB of output refused", "print('x' * (300 << 20)); return True"),
    Attack("verdict: a fork bomb is stopped", "import os\n    while True:\n        try: os.fork()\n        except OSError: pass"),
    Attack("verdict: an endless loop is stopped", "while True: pass"),
)


def selftest(check: Check, attacks: Sequence[Attack] = AT_START + SLOW) -> list[Finding]:
    """Each property with whether it held, by programs that `check` runs. All attacks take seconds, those of the start a tenth of one."""
    with tempfile.TemporaryDirectory(prefix="codetune-selftest-") as folder:
        victim, mark = Path(folder, "victim"), Path(folder, uuid.uuid4().hex)
        victim.write_text("untouched")
        victim.chmod(0o600)
        places = {"home": os.path.expanduser("~"), "mark": str(mark), "victim": str(victim)}
        problem = Problem("selftest", entry_point="f", tests=(AssertTest("assert f() is True"),), timeout_s=1.0)
        right = ("def f():\n    return True\n", problem)
        made = (f"def f():\n    {attack.body.format(**places)}\n" for attack in attacks)
        jobs = [(program, replace(problem, timeout_s=attack.timeout_s)) for program, attack in zip(made, attacks, strict=True)]
        first, *results, last = check([right, *jobs, right])
        untouched = not mark.exists() and victim.exists() and victim.read_text() == "untouched" and victim.stat().st_mode & 0o777 == 0o600
    stands = first.verdict is last.verdict is Verdict.PASSED
    seen = f"{first.verdict} {first.detail}, {last.verdict} {last.detail}"
    findings = [Finding("a right program passes, before and after", stands, seen)]
    # A failure of the sandbox itself shows nothing: the attack must have been made, and have come to nothing.
    unproven = (Verdict.PASSED, Verdict.INFRASTRUCTURE)
    for attack, result in zip(attacks, results, strict=True):
        findings.append(Finding(attack.name, result.verdict not in unproven, f"{result.verdict}: {result.detail}"))
    return [*findings, Finding("no trace on the host", untouched, folder)]
