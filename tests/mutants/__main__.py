"""`python -m tests.mutants`: see run.py."""

import sys

from tests.mutants.run import main

sys.exit(main())
