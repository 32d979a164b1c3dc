"""The same as ``kdet dataset convert``: ``python tools/convert_dataset.py SOURCE TARGET --to tfrecord``."""

import sys

from kdet import cli


def main(arguments=None):
    """Run ``kdet dataset convert``; exits with its code where that is not 0."""
    given = sys.argv[1:] if arguments is None else arguments
    code = cli.main(["dataset", "convert", *given])
    if code:
        sys.exit(code)


if __name__ == "__main__":
    main()
