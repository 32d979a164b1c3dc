"""The same as ``kdet train``: ``python tools/train.py CONFIG --work-dir DIR``."""

import sys

from kdet import cli


def main(arguments=None):
    """Run ``kdet train``; exits with its code where that is not 0."""
    given = sys.argv[1:] if arguments is None else arguments
    code = cli.main(["train", *given])
    if code:
        sys.exit(code)


if __name__ == "__main__":
    main()
