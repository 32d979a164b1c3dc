"""The same as ``kdet convert``: ``python tools/export_checkpoint.py FILE --config RECIPE --out mine.pth``."""

import sys

from kdet import cli


def main(arguments=None):
    """Run ``kdet convert``; exits with its code where that is not 0."""
    given = sys.argv[1:] if arguments is None else arguments
    code = cli.main(["convert", *given])
    if code:
        sys.exit(code)


if __name__ == "__main__":
    main()
