"""The command ``diptych`` as a process of its own, also as ``python -m diptych``, where scripts are not on the path."""

import signal
import sys

from diptych.cli import main


def command() -> int:
    """Run the command line and return the exit code. A second Ctrl-C would tear what Python does as it ends, and is ignored."""
    code = main()
    if code == 128 + signal.SIGINT:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    return code


if __name__ == "__main__":
    sys.exit(command())
