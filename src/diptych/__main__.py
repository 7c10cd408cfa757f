"""``python -m diptych`` is the command ``diptych``, also where the scripts of a Python are not on the path."""

import sys

from diptych.cli import main

if __name__ == "__main__":
    sys.exit(main())
