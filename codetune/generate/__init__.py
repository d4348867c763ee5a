"""Writing completions: the engine seam, codetune's own engine, one for servers, and a fake one for tests."""

from codetune.generate.fake import FakeEngine
from codetune.generate.request import Engine, Generated, Report, Request

__all__ = ["Engine", "FakeEngine", "Generated", "Report", "Request"]
