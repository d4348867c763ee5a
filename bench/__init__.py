"""Speed and safety, against the systems people use today: each benchmark runs ours and theirs side by side (see bench/README.md)."""
