"""The same as ``kdet test``: ``python tools/test.py CONFIG --weights FILE``."""

import sys

from kdet import cli


def main(arguments=None):
    """Run ``kdet test``; exits with its code where that is not 0."""
    given = sys.argv[1:] if arguments is None else arguments
    code = cli.main(["test", *given])
    if code:
        sys.exit(code)


if __name__ == "__main__":
    main()
