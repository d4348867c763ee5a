"""Shows an answer while it is written: what is whole is printed for good, only the open line or paragraph is drawn again.

So the scrollback has the whole answer once, however long it is, and what is drawn again never reaches beyond the screen.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from types import TracebackType
from typing import ClassVar, Protocol, TextIO

from markdown_it import MarkdownIt
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.live import Live
from rich.markdown import Heading, Markdown, MarkdownElement
from rich.segment import Segment
from rich.spinner import Spinner
from rich.text import Text

from codetune.cli.terminal.blocks import Closed, Event, Line, Opened, Prose, Splitter, starts_code
from codetune.cli.terminal.colour import Colourist
from codetune.cli.terminal.visible import visible

_REDRAWN_PER_S = 12


class Flow(Protocol):
    """Takes an answer piece by piece; a context manager that ends it."""

    def __enter__(self) -> Flow: ...

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None: ...

    def add(self, text: str) -> None: ...


def open_flow(console: Console) -> Flow:
    """Coloured on a terminal that can; else text alone, as it comes."""
    if console.is_terminal and not console.is_dumb_terminal:
        return ColourFlow(console)
    return PlainFlow(sys.stdout, visible if console.is_terminal else str)


class PlainFlow:
    """The text as it comes, without empty lines before it and with a newline at its end; `shown` makes it safe for a terminal."""

    def __init__(self, file: TextIO, shown: Callable[[str], str]) -> None:
        self.file, self.shown = file, shown
        self._waiting = ""  # newlines that are not printed yet: at the end of the answer they are none of it
        self._begun = False

    def __enter__(self) -> PlainFlow:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._begun and not isinstance(error, BrokenPipeError):
            print(file=self.file, flush=True)

    def add(self, text: str) -> None:
        text = self._waiting + text if self._begun else text.lstrip("\n")
        kept = text.rstrip("\n")
        self._waiting = text[len(kept) :]
        self._begun = self._begun or bool(kept)
        self.file.write(self.shown(kept))
        self.file.flush()


class ColourFlow:
    """Prose as Markdown, code in colours with the number that `/run` knows it by."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._splitter, self._colourist = Splitter(), Colourist("python")
        self._open: Callable[[], RenderableType] = lambda: Spinner("dots", Text("writing", style="dim"), speed=0.5)
        self._printed = False
        self._live = Live(
            get_renderable=lambda: _Lines(self._open(), console.height - 2), console=console, transient=True, auto_refresh=False,
            redirect_stdout=False, redirect_stderr=False,
        )  # fmt: skip
        # Rich's own thread draws between the moment at which a print finds its place and the one at which it is written.
        self._drawing, self._ended = threading.Lock(), threading.Event()
        self._redrawing = threading.Thread(target=self._redraw, daemon=True)

    def __enter__(self) -> ColourFlow:
        self._live.start()
        self._redrawing.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._ended.set()
        self._redrawing.join()
        try:
            self._show(self._splitter.end())
        finally:
            self._open = Group
            self._live.refresh()
            self._live.stop()

    def add(self, text: str) -> None:
        events = self._splitter.feed(text)
        opened = self._draw_open()
        if events:
            self._show(events)
        self._open = opened

    def redraw(self) -> None:
        """Show how far the open block is."""
        with self._drawing:
            self._live.refresh()

    def _redraw(self) -> None:
        while not self._ended.wait(1 / _REDRAWN_PER_S):
            self.redraw()

    def _show(self, events: list[Event]) -> None:
        """Print them in one go, in the place of what was open."""
        with self._drawing, self.console:
            self._open = Group
            self._live.refresh()
            for event in events:
                self._print(event)

    def _print(self, event: Event) -> None:
        match event:
            case Prose(text):
                self._gap()
                self.console.print(_Lines(_Words(visible(text))), end="")
            case Opened(number, language):
                self._gap()
                name = language or "python"
                self._colourist = Colourist(name)
                self.console.print(Text(f"── {number} {visible(name)}", style="dim"))
            case Line(text):
                self.console.print(self._colourist.line(visible(text)), soft_wrap=True)
            case Closed():
                pass

    def _gap(self) -> None:
        """An empty line between two blocks."""
        if self._printed:
            self.console.print()
        self._printed = True

    def _draw_open(self) -> Callable[[], RenderableType]:
        """How the open block looks; a function, since it is drawn by another thread, and less often than text comes."""
        partial, prose = visible(self._splitter.partial.rstrip("\r")), list(self._splitter.prose)
        if partial.lstrip().startswith(("```", "~~~")):
            partial = ""  # a fence to be
        if self._splitter.code is not None:
            return lambda: self._colourist.line(partial, whole=False) if partial else Group()
        if not prose and starts_code(partial):
            return lambda: Colourist("python").line(partial, whole=False)
        return lambda: _Words("\n".join([*map(visible, prose), partial]))


class _Lines:
    """What something fills without the empty lines around it, or of that as much of the end as fits `most` lines."""

    def __init__(self, inner: RenderableType, most: int | None = None) -> None:
        self.inner, self.most = inner, most

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        lines = console.render_lines(self.inner, options.update(height=None, no_wrap=False, overflow="fold"), pad=False)
        filled = [number for number, line in enumerate(lines) if any(segment.text.strip() for segment in line)]
        lines = lines[filled[0] : filled[-1] + 1] if filled else []
        for line in lines if self.most is None else lines[-max(1, self.most) :]:
            yield from _without_padding(line)
            yield Segment.line()


def _without_padding(line: list[Segment]) -> list[Segment]:
    """Without the blanks up to the margin, which would be copied with the text."""
    while line and not line[-1].text.strip():
        line = line[:-1]
    return [*line[:-1], Segment(line[-1].text.rstrip(), line[-1].style)] if line else []


class _PlainHeading(Heading):
    """At the margin, and no box round the greatest."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        self.text.justify = "left"
        yield self.text


class _Words(Markdown):
    """Markdown with nothing hidden: a link's address is printed, HTML is text, and so are entities, which could stand for anything."""

    elements: ClassVar[dict[str, type[MarkdownElement]]] = {**Markdown.elements, "heading_open": _PlainHeading}

    def __init__(self, text: str) -> None:
        super().__init__(text, hyperlinks=False)
        parser = MarkdownIt("commonmark", {"html": False}).enable(["strikethrough", "table"]).disable("entity")
        self.parsed = parser.parse(text)
