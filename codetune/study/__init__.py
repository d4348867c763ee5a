"""Studies: plan, run, compare, report. `codetune.study(...)` is the API's call."""

from codetune.callable import make_callable

make_callable(__name__)
