"""Writing completions: the engine seam, codetune's own engine, and a fake one for tests."""

from codetune.generate.fake import FakeEngine
from codetune.generate.request import Engine, Generated, Request

__all__ = ["Engine", "FakeEngine", "Generated", "Request"]
