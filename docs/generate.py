"""Write the generated pages of the documentation anew, or see whether they are up to date.

    python docs/generate.py
    python docs/generate.py --check
"""

from __future__ import annotations

import sys
from pathlib import Path

import make_commands_page
import make_compatibility_page
import make_performance_page
import make_recipes_page

FOLDER = Path(__file__).resolve().parent
PAGES = {
    "commands.md": make_commands_page.page, "recipes.md": make_recipes_page.page, "compatibility.md": make_compatibility_page.page,
    "performance.md": make_performance_page.page,
}  # fmt: skip


def main(arguments: list[str]) -> int:
    """Exit code 1 if `--check` finds a page that is not what the code says."""
    stale = []
    for name, make in PAGES.items():
        path, text = FOLDER / name, make()
        if path.exists() and path.read_text(encoding="utf-8") == text:
            continue
        stale.append(name)
        if "--check" not in arguments:
            path.write_text(text, encoding="utf-8")
            print(f"wrote docs/{name}")
    if stale and "--check" in arguments:
        print(f"out of date: {', '.join(stale)}; run `python docs/generate.py`", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
