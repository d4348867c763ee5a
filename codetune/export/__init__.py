"""What was tuned, for others: merged or as an adapter, with a card that says where it comes from and what it is worth."""
