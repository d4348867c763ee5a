"""Text of others (a model, a program) made safe for a terminal: what would steer it is shown instead.

An escape sequence can retitle the window, write to the clipboard or hide what stands on the screen; a bidirectional override shows
code in another order than it runs (https://trojansource.codes).
"""

from __future__ import annotations

import re

_PICTURES = 0x2400  # Unicode has a picture of each C0 control
_STEERING = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\u2028\u2029\ud800-\udfff]"  # all but tab and newline
)


def visible(text: str) -> str:
    """The text with every control character but tab and newline as a picture or an escape; a newline of Windows is one of ours."""
    return _STEERING.sub(lambda found: _picture(ord(found[0])), text.replace("\r\n", "\n"))


def _picture(code: int) -> str:
    if code < 0x20:
        return chr(_PICTURES + code)
    if code == 0x7F:
        return "\u2421"
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"
