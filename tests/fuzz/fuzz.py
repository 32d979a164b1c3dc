"""Runs the fuzzers for as long as one likes; stops at the first case that ends in another error than kdet's.

python -m tests.fuzz.fuzz [--seconds 3600] [--seed 0] [--target Coco ...]

``--seed`` with ``--count 1`` repeats the case that a failure names.
"""

import argparse
import contextlib
import random
import signal
import tempfile
import time

from kdet.errors import KdetError
from tests.fuzz.targets import TARGETS

LIMIT = 20  # seconds for one case


class Found(AssertionError):
    """A case that a reader does not answer as it should."""


def run_case(target, name, seed):
    """Runs case ``seed``; True where the input was refused.

    Raises:
        Found: anything but a result or a ``KdetError``, or nothing within ``LIMIT`` seconds.
    """
    try:
        with _deadline():
            target.case(random.Random(seed))
    except KdetError as error:
        if not str(error).strip():
            raise Found(f"{name}, seed {seed}: an error without a word") from error
        return True
    except (Exception, RecursionError) as error:
        raise Found(f"{name}, seed {seed}: {type(error).__name__}: {error}") from error
    return False


@contextlib.contextmanager
def _deadline():
    def stop(*_):
        raise TimeoutError(f"no answer within {LIMIT} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(LIMIT)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def main(arguments=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--target", nargs="+", choices=list(TARGETS), default=list(TARGETS))
    parser.add_argument("--seconds", type=float, default=3600.0, help="for all targets together")
    parser.add_argument("--seed", type=int, default=0, help="of the first case")
    parser.add_argument("--count", type=int, help="cases of each target, instead of a time")
    options = parser.parse_args(arguments)
    for name in options.target:
        with tempfile.TemporaryDirectory() as folder:
            target, seed, refused = TARGETS[name](folder), options.seed, 0
            end = time.monotonic() + options.seconds / len(options.target)
            while seed - options.seed < options.count if options.count else time.monotonic() < end:
                refused += run_case(target, name, seed)
                seed += 1
        print(f"{name:12} {seed - options.seed} cases, {refused} refused", flush=True)


if __name__ == "__main__":
    main()
