"""Keep TensorFlow's start-up messages off the standard error; all other lines get through."""

import contextlib
import os
import re
import sys
import tempfile
from collections.abc import Iterator

# Written by compiled code, past every setting of TensorFlow: what it is built with, and that there is no GPU.
STARTUP_LINES = re.compile(
    r"All log messages before absl|oneDNN custom operations are on|Could not find cuda drivers|"
    r"cuInit|computation_placer|Unable to register cu|cpu_feature_guard|To enable the following instructions"
)


@contextlib.contextmanager
def startup() -> Iterator[None]:
    """Hold back the standard error of this process, and pass on all lines but start-up messages."""
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
                if not STARTUP_LINES.search(line):
                    print(line, file=sys.stderr)
