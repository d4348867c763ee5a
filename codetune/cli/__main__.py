"""`python -m codetune.cli`: the `codetune` command where the script is not on the path."""

from codetune.cli.main import main

main()
