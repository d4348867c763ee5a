"""Which kind of lane a voice's model needs."""

from __future__ import annotations

from codetune.generate.answer_lane import AnswerLane
from codetune.generate.lane import Lane
from codetune.models.several import Voice


def lane_of(voice: Voice) -> Lane:
    """A new lane for the tree that a voice belongs to."""
    return AnswerLane(voice.tree, voice) if voice.loaded.family.encoder_decoder else Lane(voice.tree, voice)
