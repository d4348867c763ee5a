"""Faster computations of the same numbers, put in the place of a model's own: `train.fast` in a recipe, on unless it says otherwise.

Each is held to the plain one by a test (tests/exactness/test_fast*.py): to rounding in float64 and float32, within stated bounds in bf16.
`model.speed_up` is where to begin.
"""
