"""The same as ``kdet browse``: ``python tools/browse.py CONFIG --out sheet.png``."""

import sys

from kdet import cli


def main(arguments=None):
    """Run ``kdet browse``; exits with its code where that is not 0."""
    given = sys.argv[1:] if arguments is None else arguments
    code = cli.main(["browse", *given])
    if code:
        sys.exit(code)


if __name__ == "__main__":
    main()
