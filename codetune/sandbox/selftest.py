"""Attacks on this machine's sandbox, run by `codetune doctor`: each must be refused, and what it tried must not have happened."""

from __future__ import annotations

import os
import tempfile
import uuid
from pathlib import Path
from typing import NamedTuple

from codetune.records import AssertTest, Problem, Verdict
from codetune.sandbox.pool import Sandbox

Finding = tuple[str, bool, str]


class _Attack(NamedTuple):
    """A function `f` whose result would be `True` if the attack went through."""

    name: str
    body: str


_ATTACKS = (
    _Attack("network: TCP socket refused", "import socket; socket.socket(); return True"),
    _Attack("network: UDP socket refused", "import socket; socket.socket(socket.AF_INET, socket.SOCK_DGRAM); return True"),
    _Attack("files: home not readable", "import os; os.listdir({home!r}); return True"),
    _Attack("files: /etc/shadow, /etc/passwd not readable", "return bool(open('/etc/passwd').read() or open('/etc/shadow').read())"),
    _Attack("files: other processes not readable", "import os; return bool(open('/proc/%d/environ' % os.getppid(), 'rb'))"),
    _Attack("files: nothing written outside the scratch folder", "open({mark!r}, 'w').write('x'); return True"),
    _Attack("files: modes of outside files stay", "import os; os.chmod({victim!r}, 0o777); return True"),
    _Attack("files: outside files not removed", "import os; os.unlink({victim!r}); return True"),
    _Attack("processes: no fork", "import os; return os.fork() >= 0"),
    _Attack("processes: no program started", "import subprocess; subprocess.run(['/bin/true']); return True"),
    _Attack("processes: the parent cannot be killed", "import os; os.kill(os.getppid(), 9); return True"),
    _Attack("processes: no group signal", "import os; os.kill(-1, 9); return True"),
    _Attack("limits: 3 GiB refused", "return bool(bytearray(3 << 30))"),
    _Attack("limits: 300 MB of output refused", "print('x' * (300 << 20)); return True"),
)

_FORGERIES = (
    ("verdict: os._exit(0) is no pass", "import os; os._exit(0)"),
    ("verdict: sys.exit(0) is no pass", "import sys; sys.exit(0)"),
    ("verdict: an __eq__ that says True is no pass", "return type('Yes', (), {'__eq__': lambda a, b: True})()"),
    ("verdict: a fork bomb is stopped", "import os\n    while True:\n        try: os.fork()\n        except OSError: pass"),
    ("verdict: an endless loop is stopped", "while True: pass"),
)


def selftest() -> list[Finding]:
    """Each property with whether it held here, and what was seen. Takes a few seconds. Raises UserError without a sandbox."""
    with tempfile.TemporaryDirectory(prefix="codetune-selftest-") as folder:
        victim, mark = Path(folder, "victim"), Path(folder, uuid.uuid4().hex)
        victim.write_text("untouched")
        victim.chmod(0o600)
        places = {"home": os.path.expanduser("~"), "mark": str(mark), "victim": str(victim)}
        names = [attack.name for attack in _ATTACKS] + [name for name, _ in _FORGERIES]
        bodies = [attack.body.format(**places) for attack in _ATTACKS] + [body for _, body in _FORGERIES]
        problem = Problem("selftest", entry_point="f", tests=(AssertTest("assert f() is True"),), timeout_s=1.0)
        control = "def f():\n    return True\n"
        programs = [control, *(f"def f():\n    {body}\n" for body in bodies), control]
        with Sandbox(workers=1, memory_mb=512) as sandbox:
            first, *results, last = sandbox.check((program, problem) for program in programs)
        findings = [("a right program passes, before and after", first.verdict is last.verdict is Verdict.PASSED, first.detail)]
        findings += [(n, r.verdict is not Verdict.PASSED, f"{r.verdict}: {r.detail}") for n, r in zip(names, results, strict=True)]
        untouched = not mark.exists() and victim.exists() and victim.read_text() == "untouched" and victim.stat().st_mode & 0o777 == 0o600
        return [*findings, ("no trace on the host", untouched, folder)]
