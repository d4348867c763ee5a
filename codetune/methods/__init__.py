"""Tuning methods: each attaches to a model, says what is trained, and is saved in PEFT's format."""

import logging

logging.getLogger("bitsandbytes").setLevel(logging.ERROR)  # PEFT imports it where it is installed, and it gives advice on kernels

from codetune.methods.adapted import Adapted, SoftPrompt  # noqa: E402
from codetune.methods.attach import attach, load_adapter  # noqa: E402

__all__ = ["Adapted", "SoftPrompt", "attach", "load_adapter"]
