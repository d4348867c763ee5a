"""Code in colours that can be read on a light and on a dark terminal: the sixteen that the terminal's own theme defines."""

from __future__ import annotations

import re

from pygments.lexers import get_lexer_by_name  # type: ignore[import-untyped]
from pygments.token import Comment, Generic, Keyword, Name, Number, Operator, String, Token  # type: ignore[import-untyped]
from pygments.util import ClassNotFound  # type: ignore[import-untyped]
from rich.style import Style
from rich.syntax import ANSISyntaxTheme
from rich.text import Text

_THEME = ANSISyntaxTheme({
    Comment: Style(dim=True, italic=True), Keyword: Style(color="magenta"), Keyword.Constant: Style(color="cyan"),
    Operator.Word: Style(color="magenta"), Name.Builtin: Style(color="cyan"), Name.Function: Style(color="blue", bold=True),
    Name.Class: Style(color="blue", bold=True), Name.Decorator: Style(color="yellow"), Name.Exception: Style(color="red"),
    String: Style(color="green"), Number: Style(color="cyan"), Token: Style(),
    Generic.Deleted: Style(color="red"), Generic.Inserted: Style(color="green"), Generic.Heading: Style(bold=True),
    Generic.Subheading: Style(color="cyan"),
})  # fmt: skip
_STARTS = re.compile(r"(?:async def|def|class|import|from|@)(?=[ \w])")
_MARKS = ('"""', "'''")


def coloured(code: str, language: str = "python") -> Text:
    """The code as text with styles; as it is where the language has no known colours."""
    try:
        lexer = get_lexer_by_name(language or "python", stripnl=False, ensurenl=False)
    except ClassNotFound:
        return Text(code)
    pieces = [(value, _THEME.get_style_for_token(token)) for token, value in lexer.get_tokens(code)]
    return Text.assemble(*pieces)


class Colourist:
    """Colours code line by line while it comes: each time only from where a statement at the margin last began."""

    def __init__(self, language: str) -> None:
        self.language, self._since = language, list[str]()

    def line(self, line: str, whole: bool = True) -> Text:
        """The next line; one that is not whole yet will be given again."""
        if _STARTS.match(line) and not any("\n".join(self._since).count(mark) % 2 for mark in _MARKS):
            before: list[str] = []
        else:
            before = self._since
        if whole:
            self._since = [*before, line]
        return coloured("\n".join([*before, line]), self.language).split("\n", allow_blank=True)[-1]
