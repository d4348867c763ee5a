"""Tuning methods: each attaches to a model, says what is trained, and is saved in PEFT's format."""

from codetune.methods.adapted import Adapted, SoftPrompt
from codetune.methods.attach import attach, load_adapter

__all__ = ["Adapted", "SoftPrompt", "attach", "load_adapter"]
