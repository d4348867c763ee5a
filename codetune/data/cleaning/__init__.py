"""Which documents are good enough to learn from, rule by rule, and what in them must not be learned."""
