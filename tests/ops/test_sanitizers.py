import os
import pathlib
import subprocess

import pytest

from kdet.ops import build, processor

HARNESS = build.find_sources() / "tests" / "cpu_kernels.cc"


@pytest.mark.skipif(os.environ.get("KDET_SANITIZE") != "1", reason="slow to compile; KDET_SANITIZE=1 runs it")
@pytest.mark.parametrize("sanitizer", ["address,undefined", "thread"])
@pytest.mark.parametrize("cpu", build.instruction_sets())
def test_kernels_are_clean(tmp_path, cpu, sanitizer):
    if cpu not in ("baseline", *processor.cpus()):
        pytest.skip(f"this processor has no {cpu}")
    program = pathlib.Path(tmp_path) / "cpu_kernels"
    options = [*build.instruction_sets()[cpu], f"-DKDET_ISA={cpu}"]  # as the library is built
    flags = ["-std=c++17", "-g", "-O1", "-w", "-fopenmp-simd", *options, f"-fsanitize={sanitizer}"]
    include = build.find_tensorflow()["flags"][0]  # Eigen lies in TensorFlow's headers
    command = [build.find_compiler(), *flags, f"-I{build.find_sources()}", include, str(HARNESS)]
    build.run([*command, "-o", str(program), "-lpthread"], verbose=False)
    done = subprocess.run([program], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "all kernels agree" in done.stdout
