"""What codetune has written to disk: found, described, compared, removed. It reads records; nothing here trains or runs anything."""
