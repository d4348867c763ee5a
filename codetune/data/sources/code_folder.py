"""A folder of code as a source: opened like any other, read file by file."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from codetune.config import content_hash
from codetune.data.codebase.code import CodeChunk, code_chunks
from codetune.data.codebase.filenames import NO_PROGRAMS
from codetune.data.codebase.repository import SourceFile, walk
from codetune.data.files import sha256_of
from codetune.data.read import is_data
from codetune.data_recipe import SourceConfig
from codetune.errors import UserError

CODE = "code"  # the source's name
_HASHED_BYTES = 4 << 30


@dataclass(frozen=True, slots=True)
class OpenedCode:
    """A folder of code, which is read file by file; in all else like `Opened`."""

    folder: Path
    config: SourceConfig
    licence: str = ""  # its files have their own

    @property
    def name(self) -> str:
        return self.folder.resolve().name

    @property
    def identity(self) -> str:
        """Another one where files, licences or repositories are others."""
        tree = walk(self.folder.resolve())
        files = [item for item in tree.items if isinstance(item, SourceFile)]
        stated = [[item.where, item.licence] for item in files], [[one.name, one.remote, one.commit] for one in tree.repositories]
        return content_hash([identity_of(self.folder.resolve() / item.where for item in files), *stated])

    def chunks(self, rows_per_chunk: int) -> Iterator[CodeChunk]:
        """Its files in order; one counts as ten rows, for its functions are rows, too."""
        return code_chunks(self.folder, self.config, max(1, rows_per_chunk // 10))


def open_code(path: Path | None, config: SourceConfig) -> OpenedCode:
    if path is None:
        raise UserError("source 'code' needs the folder: give it as path")
    if unused := sorted({"min_score", "max_solutions", "split"} & given_keys(config)):
        raise UserError(f"source 'code' has no use for {unused[0]!r}; leave it out")
    return OpenedCode(path, config)


def is_code(path: Path) -> bool:
    """Whether a folder is a code base: it has more programs than files of data."""
    if not path.is_dir():
        return False
    items = walk(path.resolve()).items
    programs = sum(isinstance(each, SourceFile) and each.language not in NO_PROGRAMS for each in items)
    return programs > sum(is_data(Path(each.where)) for each in items)


def identity_of(files: Iterable[Path]) -> str:
    """A hash of the files: of their bytes or, beyond a few GB, of names, sizes and times."""
    paths = list(files)
    sizes = [path.stat() for path in paths]
    if sum(one.st_size for one in sizes) <= _HASHED_BYTES:
        return content_hash([[path.name, sha256_of(path)] for path in paths])
    return content_hash([[path.name, one.st_size, one.st_mtime_ns] for path, one in zip(paths, sizes, strict=True)])


def given_keys(config: SourceConfig) -> set[str]:
    """Those that say something else than what holds anyway."""
    return {key for key, field in SourceConfig.model_fields.items() if getattr(config, key) != field.default}
