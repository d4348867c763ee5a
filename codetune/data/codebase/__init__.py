"""A folder or git repository of one's own, as documents."""
