"""The same as ``kdet convert``: ``python tools/convert_checkpoint.py epoch_12.pth --config RECIPE``."""

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
