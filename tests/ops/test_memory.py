import os
import pathlib
import platform
import re
import shutil
import subprocess
import sys

import pytest

from kdet.ops import compiled

BENCHMARKS = pathlib.Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.mark.skipif(compiled.why_not() is not None, reason=str(compiled.why_not()))
@pytest.mark.skipif(
    platform.libc_ver()[0] != "glibc" or shutil.which("cc") is None or not BENCHMARKS.is_dir(),
    reason="malloc is counted with glibc, a compiler and the tools of a checkout",
)
@pytest.mark.parametrize("threads", [2, 8])
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_no_op_takes_more_than_twice_its_output(dtype, threads):
    """Counted at the sizes of the benchmark, output included, for all ops that have a gradient."""
    command = [sys.executable, str(BENCHMARKS / "benchmark_ops_memory.py"), "--dtype", dtype]
    command += ["--threads", str(threads)]
    environment = os.environ | {"PYTHONPATH": str(compiled.FOLDER.parents[1])}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-4000:]
    found = {}
    for line in done.stdout.splitlines():
        if sizes := re.fullmatch(r"\| (\w+) \| (\S+) \+ (\S+) \| \S+ \| (\S+) \+ (\S+) \| \S+ \|", line):
            found[sizes[1]] = [float(size) for size in sizes.groups()[1:]]
    assert len(found) == 12, done.stdout
    for name, (out, besides, gradients, besides_them) in found.items():
        assert besides <= out and besides_them <= gradients, (name, found[name])
