"""Scores of texts and programs, and their statistics. `codetune.score(...)` is the API's call."""

from codetune.callable import make_callable

make_callable(__name__)
