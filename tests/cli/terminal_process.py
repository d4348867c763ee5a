"""A program at a pseudo terminal: what is typed into it, what it wrote, and what of that stands on the screen and above it."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import re
import select
import signal
import struct
import sys
import termios
from collections.abc import Iterator
from pathlib import Path

CTRL_C, CTRL_D, ENTER, ALT_ENTER, UP, TAB = "\x03", "\x04", "\r", "\x1b\r", "\x1b[A", "\t"
PATIENCE_S = 60.0
_CODE = re.compile(r"\x1b\[([0-9;?]*)([A-Za-z])|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|\x1b[=>]|([\s\S])")


class TerminalProcess:
    """`script` runs with `-c` in a Python of its own, at a terminal of 24 rows and `columns`."""

    def __init__(self, script: str, *arguments: str, columns: int = 80, **environment: str) -> None:
        self.written, self._seen = "", 0
        self.pid, self._terminal = pty.fork()
        if self.pid == 0:
            try:
                signal.signal(signal.SIGINT, signal.SIG_DFL)  # ignored by whatever a shell started in the background
                os.execve(sys.executable, [sys.executable, "-c", script, *arguments], os.environ | {"TERM": "xterm-256color"} | environment)
            finally:
                os._exit(127)
        fcntl.ioctl(self._terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))

    def send(self, keys: str) -> None:
        os.write(self._terminal, keys.encode())

    def paste(self, text: str) -> None:
        """As a terminal sends what is pasted."""
        self.send(f"\x1b[200~{text}\x1b[201~")

    def expect(self, text: str) -> None:
        """Wait until it has written this, beyond what was waited for before. Colours between words are not looked at."""
        while True:
            at = without_codes(self.written).find(text, self._seen)
            if at >= 0:
                self._seen = at + len(text)
                return
            assert self._read(), f"ended without {text!r}: {without_codes(self.written)[-2000:]}"

    def wait(self) -> int:
        """Its exit code, when it has ended."""
        while self._read():
            pass
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])

    def lines(self, columns: int = 80) -> list[str]:
        """Every line that stands on the screen or was scrolled off it, as far as nothing is drawn beyond 24 rows from the end."""
        return screen(self.written, columns)

    def _signals(self) -> str:
        """Which it blocks, ignores and catches: what became of a Ctrl-C."""
        lines = Path(f"/proc/{self.pid}/status").read_text().splitlines()
        return ", ".join(line.replace("\t", " ") for line in lines if line.startswith("Sig"))

    def _read(self) -> bool:
        ready, _, _ = select.select([self._terminal], [], [], PATIENCE_S)
        assert ready, f"nothing came for {PATIENCE_S} s; {self._signals()}: {without_codes(self.written)[-2000:]}"
        try:
            data = os.read(self._terminal, 1 << 16)
        except OSError:  # the other end is closed
            return False
        text = data.decode("utf-8", "replace")
        if "\x1b[6n" in text:  # prompt_toolkit asks where the cursor is
            self.send("\x1b[1;1R")
        self.written += text
        return bool(data)

    def close(self) -> None:
        with contextlib.suppress(ProcessLookupError, ChildProcessError):
            if os.waitpid(self.pid, os.WNOHANG)[0] == 0:
                os.kill(self.pid, 9)
                os.waitpid(self.pid, 0)
        os.close(self._terminal)


def without_codes(written: str) -> str:
    return _CODE.sub(lambda found: found[3] or "", written).replace("\r", "")


def screen(written: str, columns: int) -> list[str]:
    """What a terminal without an end at its top shows: the few codes that Rich and prompt_toolkit move the cursor by."""
    lines, row, column = [""], 0, 0
    for found in _CODE.finditer(written):
        count = int(found[1]) if found[1] and found[1].isdigit() else 1
        match found[2], found[3]:
            case "A", _:
                row = max(0, row - count)
            case "B", _:
                row += count
            case "C", _:
                column += count
            case "D", _:
                column = max(0, column - count)
            case "G", _:
                column = count - 1
            case "K", _:
                lines[row] = "" if found[1] == "2" else lines[row][:column]
            case "J", _:
                lines[row], lines[row + 1 :] = lines[row][:column], []
            case None, "\r":
                column = 0
            case None, "\n":
                row += 1
            case None, str(character) if character >= " ":
                if column >= columns:
                    row, column = row + 1, 0
                lines += [""] * (row + 1 - len(lines))
                lines[row] = lines[row][:column].ljust(column) + character + lines[row][column + 1 :]
                column += 1
        lines += [""] * (row + 1 - len(lines))
    return [line.rstrip() for line in lines]


@contextlib.contextmanager
def terminal(script: str, *arguments: str, state: Path, columns: int = 80) -> Iterator[TerminalProcess]:
    process = TerminalProcess(script, *arguments, columns=columns, CODETUNE_STATE=str(state))
    try:
        yield process
    finally:
        process.close()
