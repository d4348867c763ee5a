"""Runs untrusted programs and says what became of them: `Sandbox`, `RunResult`, `selftest`. See docs/sandbox.md."""

import sys

from codetune.errors import UserError

if sys.platform == "win32":
    raise UserError("the sandbox needs Linux: on Windows use WSL")

from codetune.sandbox.judge import RunResult
from codetune.sandbox.pool import Sandbox
from codetune.sandbox.selftest import selftest

__all__ = ["RunResult", "Sandbox", "selftest"]
