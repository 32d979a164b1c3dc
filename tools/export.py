"""The same as ``kdet export``: ``python tools/export.py NAME --out PATH``."""

import sys

from kdet import cli


def main(arguments=None):
    """Run ``kdet export``; exits with its code where that is not 0."""
    given = sys.argv[1:] if arguments is None else arguments
    code = cli.main(["export", *given])
    if code:
        sys.exit(code)


if __name__ == "__main__":
    main()
