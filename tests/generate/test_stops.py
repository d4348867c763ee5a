"""Text that is held back while it could still become a stop sequence."""

from __future__ import annotations

import itertools

from codetune.generate.fake import cut_at_stop
from codetune.generate.stops import HeldText


def test_however_a_text_is_cut_into_pieces_it_ends_where_the_whole_one_does() -> None:
    stops = ("ab", "aba", "bcc", "", "cab")
    for letters in itertools.product("abc", repeat=6):
        text = "".join(letters)
        for first, second in itertools.combinations(range(7), 2):
            held = HeldText(stops)
            shown = [held.add(piece) for piece in (text[:first], text[first:second], text[second:])]
            whole = "".join(shown) + held.rest()
            assert (whole, "stop" if held.stopped else "") == cut_at_stop(text, stops[:3] + stops[4:])


def test_what_cannot_become_a_stop_sequence_is_shown_at_once() -> None:
    held = HeldText(("\ndef ", "\n\n\n"))
    assert [held.add(piece) for piece in ("x = 1\n", "y", "\nde", "f", "x\n\n", "z")] == ["x = 1", "\ny", "", "", "\ndefx", "\n\nz"]
    assert not held.stopped
