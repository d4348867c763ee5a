"""Tells whether an instruction is natural language, by rules that a person can check: CodeXGLUE's for docstrings.

CodeXGLUE (Lu et al. 2021; github.com/microsoft/CodeXGLUE, Code-Text/code-to-text) took from CodeSearchNet what has 3 to 256 tokens, no
special tokens such as <img ...> or https:..., and is English. Here words are counted, and what stands in quotes is no special token.
"""

from __future__ import annotations

import re

MIN_ASCII_SHARE = 0.7  # of the letters of English
MIN_WORDS_WITHOUT_FUNCTION_WORD = 12  # English of that length without a word like "the" is a list of names
_WORD = re.compile(r"[^\W_]+")
_LETTERS = re.compile(r"[^\W\d_]+")
_QUOTED = re.compile(r"`[^`\n]*`|\"[^\"\n]*\"|(?<!\w)'[^'\n]*'(?!\w)")
_SPECIAL = re.compile(r"<(?:img|a|iframe|script)\s[^>]*>|\bhttps?:\S*", re.IGNORECASE)
_ENGLISH = (
    "the a an of to in for and or is are be with by from that this it its if as on at not into all each when which how has have was will "
    "can you i using between than only no any does do than then return returns given"
)
# Of German, French, Spanish, Portuguese, Italian and Dutch, without what is a word of English or a common name in code.
_FOREIGN = (
    "der und ist nicht ein eine einen einer mit für von den dem auf wird werden oder "
    "le les et est une dans pour avec sur qui que du ce cette aux "
    "el los las para con por una es se como esta este "
    "os uma não em dos das um ao "
    "il gli della che di nel sono questa "
    "het een van voor niet"
)
_ENGLISH_WORDS, _FOREIGN_WORDS = frozenset(_ENGLISH.split()), frozenset(_FOREIGN.split())


def wordless(text: str) -> str:
    """What can be said against any instruction, in whatever language."""
    return "" if _WORD.search(text) else "no words"


def fault(text: str, min_words: int | None, max_words: int | None, english: bool) -> str:
    """What is wrong with an instruction, in words; "" for natural language.

    >>> fault("Return the mean of some numbers.", 3, 256, english=True)
    ''
    >>> fault("Gibt den Mittelwert der Zahlen zurück und sortiert.", 3, 256, english=True)
    'not English: 3 words of other languages, 0 of English'
    """
    if empty := wordless(text):
        return empty
    words = _WORD.findall(text)
    if min_words is not None and len(words) < min_words:
        return f"{len(words)} words < {min_words}"
    if max_words is not None and len(words) > max_words:
        return f"{len(words)} words > {max_words}"
    if ("<" in text or "http" in text) and (special := _SPECIAL.search(_QUOTED.sub("", text))):
        return f"holds {special[0][:40]!r}"
    return _foreign(text, words) if english else ""


def _foreign(text: str, words: list[str]) -> str:
    if not text.isascii():
        letters = "".join(_LETTERS.findall(text))
        share = sum(map(str.isascii, letters)) / max(1, len(letters))
        if letters and share < MIN_ASCII_SHARE:
            return f"not English: {share:.2f} of its letters are ASCII < {MIN_ASCII_SHARE}"
    lowered = [word.lower() for word in words]
    own, others = sum(word in _ENGLISH_WORDS for word in lowered), sum(word in _FOREIGN_WORDS for word in lowered)
    if others >= 2 and others > own:
        return f"not English: {others} words of other languages, {own} of English"
    if not own and len(words) >= MIN_WORDS_WITHOUT_FUNCTION_WORD:
        return f"not English: none of its {len(words)} words is a function word"
    return ""
