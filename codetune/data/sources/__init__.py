"""Data sources: each a short file that makes documents of a data set's rows, and the one way to open and read them all.

`open_source(config)` finds the files (or the hub), `Opened.chunks` cuts them, `read_chunk` makes documents in whatever process;
`documents` does it all here, and `load_source` gives training problems by name.
"""

from codetune.data.sources.code_folder import OpenedCode
from codetune.data.sources.load import austin_examples, documents, load_documents, load_source
from codetune.data.sources.opened import Opened, SourceChunk, open_source, read_chunk
from codetune.data.sources.registry import SOURCES
from codetune.data.sources.source import Hub, Source

__all__ = [
    "SOURCES", "Hub", "Opened", "OpenedCode", "Source", "SourceChunk", "austin_examples", "documents", "load_documents",
    "load_source", "open_source", "read_chunk",
]  # fmt: skip
