"""`python -m tests.planted`: see run.py."""

import sys

from tests.planted.run import main

sys.exit(main())
