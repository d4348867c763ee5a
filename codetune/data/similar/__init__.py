"""Equal and similar texts, found by sorting."""
