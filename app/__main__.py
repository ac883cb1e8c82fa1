"""python -m app, and the console script bf-admin."""

import signal
import sys
from types import FrameType

from app import cli


def main() -> None:
    # The kernel gives process 1, which this is in a container, no signal that has no handler. Servers set their own.
    signal.signal(signal.SIGTERM, _terminate)
    cli.main()


def _terminate(number: int, _: FrameType | None) -> None:
    """Ends as Ctrl-C does: what is open is rolled back and closed."""
    sys.exit(128 + number)


if __name__ == "__main__":
    main()
