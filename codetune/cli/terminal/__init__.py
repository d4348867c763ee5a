"""What `codetune chat` shows and reads on a terminal."""
