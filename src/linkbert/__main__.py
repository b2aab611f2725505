"""`python -m linkbert` is the command `linkbert`: what a launcher such as torchrun starts."""

import sys

from linkbert.cli import main

sys.exit(main())
