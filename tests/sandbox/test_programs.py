"""The programs that other harnesses fall to, one test each, in every tier: none forges a pass, leaves a trace, or stops the run.

The tests of `f` expect the text SECRET, which no program can guess. `{mark}`, `{folder}` and `{victim}` lie on the host and may be written
by everybody.
"""
# ruff: noqa: E501 - whole programs on a line

from __future__ import annotations

import os
import time
import uuid
from pathlib import Path
from typing import Any

import pytest

from codetune.records import Integrity, Verdict

SECRET = f"SECRET-{uuid.uuid4().hex}"
FIND = "import re\n    hits = re.findall('SECRET-[0-9a-f]{{32}}', ' '.join(found))\n    return hits[0] if hits else None\n"
YES = "class Yes{base}:\n    def __eq__(self, other): return True\n    def __ne__(self, other): return False\n    __hash__ = None\ndef f(): return Yes({arguments})\n"
TOUCH = "def touch(how):\n    try: how()\n    except BaseException as error: print(type(error).__name__)\n"

PROGRAMS: dict[str, tuple[str, set[Verdict]]] = {
    "a wrong answer": ("def f(): return 'SECRET'\n", {Verdict.WRONG_ANSWER}),
    "sys.exit(0) at import": ("import sys\nsys.exit(0)\n", {Verdict.EXCEPTION}),
    "raise SystemExit in the function": ("def f(): raise SystemExit\n", {Verdict.EXCEPTION}),
    "os._exit(0)": ("import os\ndef f(): os._exit(0)\n", {Verdict.KILLED}),
    "an object that equals everything": (YES.format(base="", arguments=""), {Verdict.NONPLAIN}),
    "an int that equals everything": (YES.format(base="(int)", arguments="1"), {Verdict.WRONG_ANSWER}),
    "frames": (
        "import sys\ndef f():\n    found, frame = [], sys._getframe()\n    while frame:\n        found += [repr(frame.f_locals), repr(frame.f_globals)]\n"
        "        for value in list(frame.f_locals.values()):\n            if isinstance(value, list): value.append('passed')\n        frame = frame.f_back\n    " + FIND,
        {Verdict.WRONG_ANSWER, Verdict.KILLED, Verdict.EXCEPTION},
    ),
    "gc": ("import gc\ndef f():\n    found = [repr(o) for o in gc.get_objects() if type(o) in (dict, list, tuple, str)]\n    " + FIND, {Verdict.WRONG_ANSWER}),
    "files, /proc and descriptors": (
        "import glob, os\ndef read(path):\n    try: return open(path, 'rb').read(1 << 20).decode('latin1')\n    except OSError: return ''\n"
        "def f():\n    found = [read(p) for n in [os.getpid(), os.getppid(), 1] for name in ('mem', 'environ', 'cmdline', 'maps', 'fd/3', 'fd/4') for p in [f'/proc/{{n}}/{{name}}']]\n"
        "    found += [read(p) for p in glob.glob('/tmp/**', recursive=True) + glob.glob({folder!r} + '/*')]\n"
        "    for n in range(4, 300):\n        try: found.append(os.pread(n, 1 << 20, 0).decode('latin1'))\n        except OSError: pass\n    " + FIND,
        {Verdict.WRONG_ANSWER},
    ),
    "importlib.reload(os), posix.system, ctypes system": (
        TOUCH + "def f():\n    import ctypes, importlib, os, posix, subprocess\n    touch(lambda: importlib.reload(os).system('touch {mark}'))\n    touch(lambda: posix.system('touch {mark}'))\n"
        "    touch(lambda: ctypes.CDLL(None).system(b'touch {mark}'))\n    touch(lambda: subprocess.run(['touch', {mark!r}]))\n    touch(lambda: os.posix_spawn('/usr/bin/touch', ['touch', {mark!r}], {{}}))\n",
        {Verdict.WRONG_ANSWER},
    ),
    "io.open outside": (
        TOUCH + "def f():\n    import io, os\n    touch(lambda: io.open({mark!r}, 'w').write('x'))\n    touch(lambda: io.open({victim!r}, 'a').write('x'))\n    touch(lambda: os.truncate({victim!r}, 0))\n"
        "    touch(lambda: os.chmod({victim!r}, 0o777))\n    touch(lambda: os.unlink({victim!r}))\n    touch(lambda: os.symlink({folder!r}, 'link'))\n    touch(lambda: io.open('link/mark', 'w').write('x'))\n",
        {Verdict.WRONG_ANSWER},
    ),
    "a daemon forked twice": (
        "import os, time\ndef f():\n    if os.fork() == 0:\n        os.setsid()\n        if os.fork() == 0:\n            time.sleep(0.3); open({mark!r}, 'w').write('x')\n        os._exit(0)\n",
        {Verdict.EXCEPTION},
    ),
    "swallowing the timeout": ("def f():\n    while True:\n        try:\n            while True: pass\n        except BaseException: pass\n", {Verdict.TIMEOUT_CPU}),
    "cancelling timers, ignoring signals": (
        "import signal\ndef f():\n    for n in range(1, 65):\n        try: signal.signal(n, signal.SIG_IGN)\n        except (OSError, ValueError): pass\n"
        "    signal.setitimer(signal.ITIMER_REAL, 0)\n    signal.alarm(0)\n    while True: pass\n",
        {Verdict.TIMEOUT_CPU},
    ),
    "killing the parent": (
        TOUCH + "def f():\n    import os, signal\n    for pid in (os.getppid(), -1, 0, 1, -os.getppid()): touch(lambda: os.kill(pid, signal.SIGKILL))\n    touch(lambda: os.pidfd_open(os.getppid()))\n",
        {Verdict.WRONG_ANSWER, Verdict.KILLED},
    ),
    "3 GiB": ("def f(): return len(bytearray(3 << 30))\n", {Verdict.MEMORY}),
    "300 MB of output": ("def f():\n    for _ in range(300): print('x' * (1 << 20))\n", {Verdict.OUTPUT_LIMIT}),
    "300 MB of output, errors swallowed": ("def f():\n    for _ in range(300):\n        try: print('x' * (1 << 20), flush=True)\n        except OSError: pass\n", {Verdict.OUTPUT_LIMIT}),
    "sockets": (
        TOUCH + "def f():\n    import socket\n    touch(lambda: socket.create_connection(('127.0.0.1', 22), 0.2))\n    touch(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('127.0.0.1', 9)))\n"
        "    touch(lambda: socket.socket(socket.AF_UNIX).connect('\\0x'))\n    return socket.socket()\n",
        {Verdict.EXCEPTION},
    ),
    "patching unittest and builtins": (
        "import builtins, operator, unittest\nunittest.TestCase.assertEqual = lambda *a: None\nbuiltins.all = lambda *a: True\noperator.eq = lambda *a: True\n"
        "AssertionError = builtins.AssertionError = type('Quiet', (Exception,), {{}})\ndef f(): return 1\n",
        {Verdict.WRONG_ANSWER},
    ),
    "writing to the verdict pipe": (
        "import os\nfrom codetune.sandbox import wire\ndef say(*m):\n    d = wire.dumps(m); os.write(3, len(d).to_bytes(4, 'big') + d)\n"
        "say('value', None, None); say('value', {{'f': 1, 'all': int}}, None); say('value', 'passed', None); say({{'verdict': 'passed', 'detail': ''}})\nfor n in range(3, 64):\n"
        "    try: os.write(n, b'passed')\n    except OSError: pass\n",
        {Verdict.WRONG_ANSWER, Verdict.KILLED, Verdict.EXCEPTION},
    ),
    "a fork bomb": ("import os\ndef f():\n    while True:\n        try: os.fork()\n        except OSError: pass\n", {Verdict.TIMEOUT_CPU}),
}  # fmt: skip


@pytest.mark.parametrize("name", PROGRAMS)
def test_no_program_forges_a_pass_leaves_a_trace_or_stops_the_run(any_tier: Any, tmp_path: Path, name: str) -> None:
    victim = tmp_path / "victim"
    victim.write_text("untouched")
    victim.chmod(0o666)
    os.utime(victim, (1000, 1000))
    for folder in (tmp_path, *tmp_path.parents[:3]):
        folder.chmod(0o777)
    program, verdicts = PROGRAMS[name]
    places = {"mark": str(tmp_path / "mark"), "victim": str(victim), "folder": str(tmp_path)}
    program = program.format(**places) if "{{" in program or "{mark" in program or "{folder" in program else program
    result = any_tier(
        program,
        "import unittest",
        f"unittest.TestCase().assertEqual(f(), {SECRET!r})",
        f"assert f() == {SECRET!r}",
        entry_point="f",
        timeout_s=0.5,
    )
    assert result.verdict in verdicts, result.detail
    assert result.tests_passed <= 1  # the import
    assert result.integrity is Integrity.STRONG
    if "daemon" in name:
        time.sleep(0.5)
    assert [path.name for path in tmp_path.iterdir()] == ["victim"]
    assert (victim.read_text(), victim.stat().st_mtime, victim.stat().st_mode & 0o777) == ("untouched", 1000, 0o666)
    right = any_tier(f"def f(): return {SECRET!r}\n", f"assert f() == {SECRET!r}", entry_point="f")
    assert (right.verdict, right.tests_passed) == (Verdict.PASSED, 1), "the sandbox lives on, and a right answer passes"
