"""The same as ``kdet predict``: ``python tools/predict.py NAME IMAGES... --out DIR``."""

import sys

from kdet import cli


def main(arguments=None):
    """Run ``kdet predict``; exits with its code where that is not 0."""
    given = sys.argv[1:] if arguments is None else arguments
    code = cli.main(["predict", *given])
    if code:
        sys.exit(code)


if __name__ == "__main__":
    main()
