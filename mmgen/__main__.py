"""`python -m mmgen` is the command `mmgen`."""

import sys

from mmgen.cli import main

sys.exit(main())
