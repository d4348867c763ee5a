"""How a process gets its libraries quickly: without looking for garbage while they load, since there is none.

    python -m codetune.imports codetune.study.run cell.json        a module's `main`, imported so

Python's collector looks through all that lives each time it has grown by a quarter: a fifth of the time that torch and transformers take.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import sys
from collections.abc import Iterator


@contextlib.contextmanager
def uncollected() -> Iterator[None]:
    """No garbage is looked for in the block."""
    before = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if before:
            gc.enable()


@contextlib.contextmanager
def without_collecting() -> Iterator[None]:
    """No garbage is looked for in the block, nor ever in what was made in it: libraries stay."""
    with uncollected():
        try:
            yield
        finally:
            gc.freeze()


def main() -> None:
    """The `main` of the module that is named first, as if that had been started."""
    del sys.argv[0]
    with without_collecting():
        module = importlib.import_module(sys.argv[0])
    sys.exit(module.main())


if __name__ == "__main__":
    main()
