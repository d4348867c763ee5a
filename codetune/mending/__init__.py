"""Mends a program: asks a model with the code, the error and the tests, checks its answer in the sandbox, and asks again.

    ask = Asking(engine, "codetune-base")
    for each in mend(program, problem, ask, sandbox):
        print(each.number, each.result.verdict, each.diff)

Whether it is mended is the sandbox's word alone.
"""

from codetune.mending.asking import Asking, decoding_of
from codetune.mending.files import CodeFile
from codetune.mending.loop import Ask, Round, best, mend
from codetune.mending.outcome import Mended
from codetune.mending.patches import patch
from codetune.mending.splice import splice
from codetune.prompts.mending import explain

__all__ = ["Ask", "Asking", "CodeFile", "Mended", "Round", "best", "decoding_of", "explain", "mend", "patch", "splice"]
