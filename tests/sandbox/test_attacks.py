"""One attack per property that docs/sandbox.md claims. Each docstring or comment says what is not covered.

`attack(body)` runs `def f(): body` against a test that expects a secret text which no program can guess; a verdict of PASSED is a forgery.
"""
# ruff: noqa: E501 - whole programs on a line

from __future__ import annotations

import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from codetune.records import CallTest, Integrity, Problem, ProgramResult, Verdict
from codetune.sandbox import Sandbox, selftest
from tests.sandbox.conftest import Check, checks_of, need_tier

SECRET = f"SECRET-{uuid.uuid4().hex}"


@pytest.fixture(scope="module", params=["T2", "T1"])
def sandbox(request: pytest.FixtureRequest) -> Iterator[Sandbox]:
    need_tier(request.param)
    with Sandbox(workers=2, memory_mb=512, tier=request.param) as started:
        yield started


@pytest.fixture(scope="module")
def check(sandbox: Sandbox) -> Check:
    return checks_of(sandbox)


@pytest.fixture
def attack(check: Any) -> Any:
    def run(program: str, timeout_s: float = 1.0) -> ProgramResult:
        result: ProgramResult = check(program, f"assert f() == {SECRET!r}", entry_point="f", timeout_s=timeout_s)
        assert result.verdict is not Verdict.PASSED
        assert check("def f():\n    return 1\n", "assert f() == 1", entry_point="f").verdict is Verdict.PASSED, "the sandbox lives on"
        return result

    return run


def function(body: str) -> str:
    return "def f():\n" + "".join(f"    {line}\n" for line in body.splitlines())


EXITS = {
    "sys.exit at import": "import sys\nsys.exit(0)\n",
    "raise SystemExit in the function": function("raise SystemExit"),
    "os._exit(0) at import": "import os\nos._exit(0)\n",
    "os._exit(0) in the function": function("import os\nos._exit(0)"),
    "closing every descriptor": function("import os\nos.closerange(0, 100)\nreturn 1"),
    "KeyboardInterrupt": function("raise KeyboardInterrupt"),
    "killing itself": function("import os\nos.kill(os.getpid(), 9)"),
    "abort": function("import os\nos.abort()"),
}


@pytest.mark.parametrize("program", EXITS.values(), ids=EXITS)
def test_an_early_end_is_no_pass(attack: Any, program: str) -> None:
    """Exit codes are never asked. Not covered: a test script that itself swallows everything by a bare `except:`."""
    raised = "sys.exit" in program or "raise" in program
    assert attack(program).verdict is (Verdict.EXCEPTION if raised else Verdict.KILLED)


def test_a_test_that_swallows_everything_does_not_hide_a_dead_program(check: Any) -> None:
    test = "try:\n    f()\nexcept:\n    pass"
    assert check(EXITS["os._exit(0) in the function"], test, entry_point="f").verdict is Verdict.KILLED


YES = "class Yes{base}:\n    def __eq__(self, other): return True\n    __ne__ = lambda self, other: False\n    __hash__ = None\n"
LIARS = {
    "object": YES.format(base="") + "def f():\n    return Yes()\n",
    "int subclass": YES.format(base="(int)") + "def f():\n    return Yes(1)\n",
    "str subclass": YES.format(base="(str)") + "def f():\n    return Yes('x')\n",
    "list subclass": YES.format(base="(list)") + "def f():\n    return Yes()\n",
    "inside a list": YES.format(base="") + "def f():\n    return [Yes()]\n",
    "the function itself": YES.format(base="") + "class Caller(Yes):\n    def __call__(self): return self\nf = Caller()\n",
    "contains everything": "class All:\n    def __contains__(self, x): return True\n    def __iter__(self): return iter([1])\ndef f():\n    return All()\n",
}


@pytest.mark.parametrize("program", LIARS.values(), ids=LIARS)
def test_objects_that_claim_to_be_equal_are_not_asked(check: Any, attack: Any, program: str) -> None:
    """A handle equals nothing but itself. Not covered: a test that itself asks the object (`assert f().is_right()`)."""
    assert attack(program).verdict in (Verdict.WRONG_ANSWER, Verdict.NONPLAIN)
    for test in ("assert f() == [3]", "assert [3] == f()", "assert 3 in f()", "assert not (f() != 3)", "assert f() in (3, 4)"):
        result = check(program, test, entry_point="f")
        assert (result.verdict is Verdict.PASSED, result.integrity) == (False, Integrity.STRONG), test


def test_equal_objects_do_not_pass_where_a_reference_shows_that_values_would_do(check: Any) -> None:
    result = check(LIARS["object"], "assert f() == 3", entry_point="f", reference="def f():\n    return 3\n")
    assert (result.verdict, result.integrity) == (Verdict.NONPLAIN, Integrity.STRONG)


SEARCHES = {
    "frames": "import sys\nframe, found = sys._getframe(), []\nwhile frame:\n    found += [repr(frame.f_locals), repr(frame.f_globals)]\n    frame = frame.f_back\n",
    "gc": "import gc\nfound = [repr(o) for o in gc.get_objects() if type(o) in (dict, list, tuple)]\n",
    "modules": "import sys\nfound = [repr(vars(m)) for m in list(sys.modules.values()) if m]\n",
    "environment": "import os\nfound = [repr(dict(os.environ))]\n",
    "inherited descriptors": "import os\nfound = []\nfor n in range(4, 300):\n    try: found.append(os.pread(n, 1 << 20, 0).decode('latin1'))\n    except OSError: pass\n",
    "open descriptors": "import os\nfound = []\nfor n in range(4, 300):\n    try: os.fstat(n); found.append('open')\n    except OSError: pass\nif found: return %r\n",
    "files of the process": "found = []\nfor name in ('environ', 'mem', 'cmdline', 'maps'):\n    try: found.append(open('/proc/self/' + name, 'rb').read().decode('latin1'))\n    except OSError: pass\n",
    "files of the parent": "import os\nfound = []\nfor n in range(os.getppid() - 2, os.getpid() + 3):\n    for name in ('environ', 'mem', 'fd/3'):\n        try: found.append(open(f'/proc/{n}/{name}', 'rb').read().decode('latin1'))\n        except OSError: pass\n",
}  # fmt: skip


@pytest.mark.parametrize("search", SEARCHES.values(), ids=SEARCHES)
def test_the_expected_value_is_nowhere_in_the_process(attack: Any, search: str) -> None:
    """The candidate's process never held the tests, so searching it is in vain; the checker's memory is shut (Landlock, ptrace)."""
    search = search % SECRET if "%r" in search else search
    attack(function(search + "import re\nhits = re.findall('SECRET-[0-9a-f]{32}', ' '.join(found))\nreturn hits[0] if hits else None"))


@pytest.mark.parametrize(
    ("shadow", "test"),
    [
        ("def all(x): return True\nabs = isinstance = len = all\n", "assert all([f() == 3])"),
        ("class math:\n    isclose = staticmethod(lambda *a: True)\n", "import math\nassert math.isclose(f(), 3)"),
        ("class math:\n    isclose = staticmethod(lambda *a: True)\n", "assert math.isclose(f(), 3)"),
        ("import builtins, math\nmath.isclose = builtins.all = lambda *a: True\n", "assert math.isclose(f(), 3) and all([f() == 3])"),
        ("from operator import truth as isclose\n", "assert isclose(f())"),
        ("import unittest\nunittest.TestCase.assertEqual = lambda *a: None\n", "import unittest\nunittest.TestCase().assertEqual(f(), 3)"),
    ],
)
def test_names_of_the_tests_are_not_the_programs(check: Any, shadow: str, test: str) -> None:
    """Built-ins and standard modules in tests are the real ones. Not covered: other free names without a reference (`Node`)."""
    result = check(shadow + "def f():\n    return 4\n", test, entry_point="f", reference="import math\ndef f():\n    return 3\n")
    assert result.verdict is not Verdict.PASSED


def test_a_program_cannot_choose_the_weak_way(check: Any) -> None:
    """Neither by what it returns, nor by what it asks of a test's function."""
    liar = (
        "class Yes:\n    def __eq__(self, other): return True\ndef f(g):\n    try: g([1])\n    except TypeError: pass\n    return Yes()\n"
    )
    assert check(liar, "assert f(iter) == 3", entry_point="f").integrity is Integrity.STRONG
    assert check(liar, "assert f(lambda x: iter(x)) == 3", entry_point="f").verdict is Verdict.NONPLAIN


def test_helpers_of_the_prompt_are_the_prompts(check: Any) -> None:
    """HumanEval/32 checks a root by `poly` of its prompt; a program that redefines it gains nothing."""
    fields = {"prompt": "def poly(x):\n    return x - 2\n\ndef root():\n    '''A root of poly.'''\n", "reference": "    return 2\n"}
    cheat = "def poly(x):\n    return 0\ndef root():\n    return 9\n"
    assert check(cheat, "assert poly(root()) == 0", entry_point="root", **fields).verdict is Verdict.WRONG_ANSWER


def test_writing_to_the_pipe_gives_only_values(attack: Any, check: Any) -> None:
    """The candidate may write what it likes into its end of the pipe; no message of the format says `passed`."""
    forged = (
        "import os\nfrom codetune.sandbox import wire\n"
        "def say(*m):\n    d = wire.dumps(m); os.write(3, len(d).to_bytes(4, 'big') + d)\n"
        "say('value', None, None); say('value', {'f': 1, 'all': int, '__builtins__': {}}, None); say('value', 'passed', None)\n"
    )
    assert attack(forged).verdict is not Verdict.PASSED
    assert attack("import os\nos.write(3, b'\\xff' * 100)\n").verdict is Verdict.KILLED
    names = forged.replace("'f': 1", "'f': int")
    assert check(names, "assert all([f() == 5])", entry_point="f").verdict is not Verdict.PASSED


ESCAPES = {
    "reloaded os": "import importlib, os\nimportlib.reload(os).system('touch {mark}')",
    "posix.system": "import posix\nposix.system('touch {mark}')",
    "ctypes system": "import ctypes\nctypes.CDLL(None).system(b'touch {mark}')",
    "subprocess": "import subprocess\nsubprocess.run(['touch', '{mark}'])",
    "posix_spawn": "import os\nos.posix_spawn('/usr/bin/touch', ['touch', '{mark}'], {{}})",
    "io.open": "import io\nio.open('{mark}', 'w').write('x')",
    "syscall": "import ctypes\nlibc = ctypes.CDLL(None)\nlibc.creat(b'{mark}', 0o600)",
    "relative path": "open('../../..{mark}', 'w').write('x')",
    "symbolic link": "import os\nos.symlink('{folder}', 'link')\nopen('link/' + '{mark}'.rsplit('/', 1)[1], 'w').write('x')",
    "hard link": "import os\nos.link('{victim}', 'mine')\nopen('mine', 'w').write('x')",
    "rename into": "import os\nopen('a', 'w').write('x')\nos.rename('a', '{mark}')",
    "truncate": "import os\nos.truncate('{victim}', 0)",
    "chmod": "import os\nos.chmod('{victim}', 0o777)",
    "utime": "import os\nos.utime('{victim}', (1, 1))",
    "setxattr": "import os\nos.setxattr('{victim}', 'user.x', b'1')",
    "unlink": "import os\nos.unlink('{victim}')",
    "shared memory": "from multiprocessing import shared_memory\nshared_memory.SharedMemory('{name}', create=True, size=10)",
    "double fork": "import os, time\nif os.fork() == 0:\n    os.setsid()\n    if os.fork() == 0:\n        time.sleep(0.5); open('{mark}', 'w').write('x')\n    os._exit(0)",
    "clone with a namespace": "import ctypes\nlibc = ctypes.CDLL(None)\nif libc.unshare(0x10020000) == 0: open('{mark}', 'w')",
}  # fmt: skip


@pytest.mark.parametrize("body", ESCAPES.values(), ids=ESCAPES)
def test_nothing_outside_the_scratch_folder_changes(attack: Any, tmp_path: Path, body: str) -> None:
    """No file made, changed or removed, by whatever way. Not covered: that a path exists (`stat`) can be seen."""
    victim, mark = tmp_path / "victim", tmp_path / "mark"
    victim.write_text("untouched")
    victim.chmod(0o600)
    os.utime(victim, (1000, 1000))
    tmp_path.chmod(0o777)
    name = f"codetune-{uuid.uuid4().hex}"
    attack(function(body.format(mark=mark, victim=victim, folder=tmp_path, name=name)))
    status = victim.stat()
    assert (victim.read_text(), status.st_mode & 0o777, status.st_mtime, os.listxattr(victim)) == ("untouched", 0o600, 1000, [])
    assert sorted(p.name for p in tmp_path.iterdir()) == ["victim"]
    assert not Path("/dev/shm", name).exists()


@pytest.mark.parametrize("path", ["/etc/passwd", "/etc/shadow", "/proc/1/environ", "/proc/self/mem", __file__, "~", "/"])
def test_files_outside_are_not_read(attack: Any, path: str) -> None:
    """Readable are the interpreter's library folder and the system's shared libraries only, with whatever lies in those."""
    path = os.path.expanduser(path)
    if not os.path.exists(path):
        pytest.skip(f"no {path} here")
    read = f"import os\nos.listdir({path!r})" if Path(path).is_dir() else f"open({path!r}, 'rb').read(1)"
    assert attack(function(read)).verdict is Verdict.EXCEPTION


@pytest.mark.parametrize(
    "family", ["AF_INET, socket.SOCK_STREAM", "AF_INET, socket.SOCK_DGRAM", "AF_INET6, socket.SOCK_RAW", "AF_UNIX", "AF_NETLINK"]
)
def test_no_socket_of_any_family(attack: Any, family: str) -> None:
    assert attack(function(f"import socket\nsocket.socket(socket.{family})")).verdict is Verdict.EXCEPTION


KILLS = {
    "parent": "import os\nos.kill(os.getppid(), 9)",
    "everybody": "import os\nos.kill(-1, 9)",
    "group of the parent": "import os\nos.killpg(os.getpgid(os.getppid()), 9)",
    "tgkill by ctypes": "import ctypes, os\nif ctypes.CDLL(None).syscall({tgkill}, os.getppid(), os.getppid(), 9): raise PermissionError",
    "pidfd": "import os\nos.pidfd_open(os.getppid())",
    "ptrace": "import ctypes, os\nif ctypes.CDLL(None).ptrace(16, os.getppid(), 0, 0): raise PermissionError",
    "limits of the parent": "import os, resource\nresource.prlimit(os.getppid(), resource.RLIMIT_NOFILE, (1, 1))",
    "priority of the parent": "import os\nos.setpriority(os.PRIO_PROCESS, os.getppid(), 19)",
}


@pytest.mark.parametrize("body", KILLS.values(), ids=KILLS)
def test_other_processes_are_out_of_reach(attack: Any, body: str) -> None:
    body = body.replace("{tgkill}", "234" if os.uname().machine == "x86_64" else "131")
    assert attack(function(body)).verdict is Verdict.EXCEPTION


BOMBS = {
    "fork bomb": "import os\nwhile True:\n    try: os.fork()\n    except OSError: pass",
    "swallowing everything": "while True:\n    try:\n        while True: pass\n    except BaseException: pass",
    "ignoring signals": "import signal\nfor n in range(1, 65):\n    try: signal.signal(n, signal.SIG_IGN)\n    except (OSError, ValueError): pass\nsignal.setitimer(signal.ITIMER_REAL, 0)\nwhile True: pass",
    "regular expression": "import re\nre.match('(a+)+$', 'a' * 60 + 'b')",
    "big power": "return 10 ** 10 ** 10",
    "endless generator": "while True:\n    yield 1",
    "sleep": "import time\ntime.sleep(100)",
}  # fmt: skip


@pytest.mark.parametrize("body", BOMBS.values(), ids=BOMBS)
def test_an_endless_program_is_killed_from_outside(check: Any, body: str) -> None:
    """SIGKILL by the zygote's clock: nothing in the program can catch or delay it."""
    result = check(function(body), "assert list(f()) == [3]", entry_point="f", timeout_s=0.5)
    waits = "sleep" in body or "yield" in body  # a generator waits for the next request
    assert result.verdict in ((Verdict.TIMEOUT_WALL, Verdict.TIMEOUT_CPU) if waits else (Verdict.TIMEOUT_CPU,))


def test_threads_are_bounded(sandbox: Sandbox) -> None:
    """A thread bomb is stopped at a count (own uid) or killed when it is seen (shared uid): then after up to 50 ms and within its memory."""
    bomb = "import threading, time\nthreading.stack_size(32768)\nwhile True:\n    threading.Thread(target=time.sleep, args=(99,), daemon=True).start()\n"
    assert sandbox.run(bomb, timeout_s=3.0).verdict in (Verdict.KILLED, Verdict.EXCEPTION, Verdict.MEMORY)


@pytest.mark.parametrize(
    ("body", "verdict"),
    [
        ("return bytearray(3 << 30)", Verdict.MEMORY),
        ("x = []\nwhile True: x.append(bytes(1 << 20))", Verdict.MEMORY),
        ("import mmap\nreturn len(mmap.mmap(-1, 3 << 30))", Verdict.EXCEPTION),
        ("for _ in range(300): print('x' * (1 << 20))", Verdict.OUTPUT_LIMIT),
        ("import os\nwhile True: os.write(1, b'x' * 4096)", Verdict.OUTPUT_LIMIT),
        ("import os\nwhile True: os.write(2, b'x' * 4096)", Verdict.OUTPUT_LIMIT),
        ("f = open('big', 'wb')\nwhile True: f.write(bytes(1 << 20))", Verdict.EXCEPTION),
        ("files = [open('/dev/null') for _ in range(1000)]", Verdict.EXCEPTION),
    ],
)
def test_memory_output_file_size_and_descriptors_are_limited(attack: Any, body: str, verdict: Verdict) -> None:
    """Not covered in this tier: the sum over many files; each is limited, and all are gone when the program ends."""
    assert attack(function(body), timeout_s=5.0).verdict is verdict


def test_output_is_capped(sandbox: Sandbox) -> None:
    result = sandbox.run("import sys\nfor n in range(10**6): print(n)\n")
    assert result.verdict is Verdict.OUTPUT_LIMIT
    assert len(result.stdout) == 1 << 16


def test_a_huge_or_deep_result_does_not_hurt_the_checker(attack: Any) -> None:
    attack(function("x = []\nfor _ in range(10**5): x = [x]\nreturn x"))
    attack(function("x = []\nx.append(x)\nreturn x"))
    attack(function("return 'x' * (100 << 20)"), timeout_s=5.0)
    attack(function("return {i * (2**61 - 1) for i in range(3000)}"))
    attack("class C:\n    def __getattr__(self, n): return self\n    def __len__(self): return -1\ndef f():\n    return C()\n")


def test_nothing_of_one_program_reaches_the_next(sandbox: Sandbox) -> None:
    """Files, and whatever depth and modes they have, are removed; memory is a fresh fork. With one worker the folder is the same."""
    nest = (
        "import os\nopen('left', 'w').write('x')\nfor n in range(300):\n    os.mkdir('d' * 200); os.chdir('d' * 200)\nos.mkdir('shut', 0)\n"
    )
    look = "import os, math\nprint(os.listdir('.'), hasattr(math, 'mark'))\n"
    with Sandbox(workers=1) as one:
        assert one.run(nest + "import math\nmath.mark = 1\n").verdict is Verdict.PASSED
        assert one.run(look).stdout == "[] False\n"


def test_the_self_test_finds_no_hole_here(sandbox: Sandbox) -> None:
    findings = selftest(sandbox.check)
    assert len(findings) > 20
    assert [finding for finding in findings if not finding.held] == []


def test_no_process_and_no_folder_stays_behind(tmp_path: Path) -> None:
    """Also when the program that uses the sandbox is killed with -9 while a candidate runs."""
    script = (
        "import os, threading\nfrom codetune.sandbox import Sandbox\n"
        "with Sandbox(workers=1, tier='T1') as s:\n    print(s._workers[0]._process.pid, s._workers[0]._scratch, flush=True)\n"
        "    threading.Timer(0.3, os.kill, (os.getpid(), 9)).start()\n    s.run('while True: pass', timeout_s=1.0)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, env={**os.environ, "TMPDIR": str(tmp_path)}, timeout=60
    )
    pid, scratch = done.stdout.split()
    assert done.returncode == -9
    for _ in range(1000):
        if not Path(scratch).exists() and not Path("/proc", pid, "exe").exists():
            break
        os.sched_yield()
        subprocess.run(["sleep", "0.01"], check=True)
    assert not Path(scratch).exists()
    assert list(tmp_path.iterdir()) == []


def test_plain_tests_of_calls_cannot_be_forged_either(sandbox: Sandbox) -> None:
    problem = Problem("t", entry_point="f", tests=(CallTest((), SECRET),), timeout_s=1.0)
    programs = [*EXITS.values(), *LIARS.values(), function(SEARCHES["gc"] + "return found")]
    assert all(result.verdict is not Verdict.PASSED for result in sandbox.check((program, problem) for program in programs))
