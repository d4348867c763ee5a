"""`python -m codetune.pretraining RECIPE`: see `codetune.pretraining.make`. Processes that read the corpus import none of it: they start
their parent's main module anew unless it is called so, and torch in each would take longer than their work."""

import sys

from codetune.pretraining.make import main

sys.exit(main(sys.argv[1:]))
