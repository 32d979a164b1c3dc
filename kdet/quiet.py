"""Keeps TensorFlow's start-up talk off the standard error; whatever else is said there gets through."""

import contextlib
import os
import re
import sys
import tempfile
from collections.abc import Iterator

# Written by compiled code, past every setting of TensorFlow: what it is built with, and that there is no GPU.
TALK = re.compile(
    r"All log messages before absl|oneDNN custom operations are on|Could not find cuda drivers|"
    r"cuInit|computation_placer|Unable to register cu|cpu_feature_guard|To enable the following instructions"
)


@contextlib.contextmanager
def startup() -> Iterator[None]:
    """Hold back the standard error of this process, and pass on the lines that are no start-up talk."""
    sys.stderr.flush()
    try:
        real = os.dup(2)
    except OSError:  # no standard error at all
        yield
        return
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        finally:
            sys.stderr.flush()
            os.dup2(real, 2)
            os.close(real)
            held.seek(0)
            for line in held.read().decode(errors="replace").splitlines():
                if not TALK.search(line):
                    print(line, file=sys.stderr)
