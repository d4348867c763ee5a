"""A file of Python as its text, and back to disk so that nothing but the text changes: encoding, line ends, mode, links."""

from __future__ import annotations

import contextlib
import io
import os
import tokenize
from dataclasses import dataclass
from pathlib import Path

from codetune.errors import UserError
from codetune.mending.patches import patch
from codetune.runs import write_atomically

_MARK = "\ufeff"  # that some editors write first


@dataclass(frozen=True, slots=True)
class CodeFile:
    """A file of Python. `text` is what it says, line ends included, without the mark that may stand first."""

    path: Path
    text: str
    encoding: str
    mark: str = ""

    @classmethod
    def read(cls, path: Path) -> CodeFile:
        """Raises UserError for what is not there, and what is no text in the encoding that it names."""
        if path.is_dir():
            raise UserError(f"{path} is a folder; give one file of Python")
        try:
            raw = path.read_bytes()
            encoding, _ = tokenize.detect_encoding(io.BytesIO(raw).readline)
            text = raw.decode("utf-8" if encoding == "utf-8-sig" else encoding)
        except FileNotFoundError:
            raise UserError(f"{path} not found; give the file of Python that is to be mended") from None
        except (SyntaxError, UnicodeDecodeError) as error:
            raise UserError(f"{path}: not text that Python can read ({error}); save it as UTF-8") from None
        except OSError as error:
            raise UserError(f"{path}: cannot be read ({error.strerror})") from None
        mark = _MARK if text.startswith(_MARK) else ""
        return cls(path, text.removeprefix(mark), "utf-8" if mark else encoding, mark)

    @property
    def name(self) -> str:
        """What a patch calls it: the path from here, which is what `git apply` and `patch` start from; above here its name alone."""
        relative = os.path.relpath(self.path)
        return self.path.name if relative.startswith(os.pardir) else Path(relative).as_posix()

    def bytes_of(self, text: str) -> bytes:
        """A text in the file's encoding. Raises UserError for a character that it does not have."""
        try:
            return text.encode(self.encoding)
        except UnicodeEncodeError as error:
            raise UserError(f"{self.path}: the mended code has {error.object[error.start]!r}, which {self.encoding} has not") from None

    def patch_to(self, text: str) -> str:
        """The patch that makes the file say `text`; in the file's encoding it is what `git apply` takes."""
        return patch(self.mark + self.text, self.mark + text, self.name)

    def write(self, text: str) -> None:
        """Make the file say `text`: whole or not at all, by the same name, with the same mode and owner."""
        raw = self.bytes_of(self.mark + text)
        target = self.path.resolve()
        before = target.stat()

        def fill(file: io.BufferedWriter) -> None:
            file.write(raw)
            with contextlib.suppress(OSError):
                os.fchown(file.fileno(), before.st_uid, before.st_gid)
            os.fchmod(file.fileno(), before.st_mode & 0o7777)

        write_atomically(target, fill)  # type: ignore[arg-type]
