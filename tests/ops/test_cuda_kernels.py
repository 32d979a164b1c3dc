"""The CUDA kernels where there is no GPU: against their CPU twins on an emulation of CUDA's threads."""

import os
import re
import shutil
import subprocess

import pytest

from kdet.ops import build

SOURCES = build.find_sources()
LAUNCH = re.compile(r"([\w:]+(?:<[\w, ]+>)?)\s*<<<(.*?), (\S+), 0,\s*stream>>>\(", re.DOTALL)
slow = pytest.mark.skipif(
    os.environ.get("KDET_SANITIZE") != "1", reason="slow to compile; KDET_SANITIZE=1 runs it"
)


def translated(source):
    """A CUDA source as C++: every launch becomes a call of ``emulate``."""
    done = ""
    while launch := LAUNCH.search(source):
        kernel, blocks, threads = launch.groups()
        depth, end = 1, launch.end()
        while depth:
            depth += {"(": 1, ")": -1}.get(source[end], 0)
            end += 1
        arguments = source[launch.end() : end - 1]
        done += f"{source[: launch.start()]}emulate({blocks}, {threads}, [&] {{ {kernel}({arguments}); }})"
        source = source[end:]
    return done + source


def test_translation_of_launches():
    source = (
        "if (a) ns::f<Type><<<ns::grid(n), kThreads, 0, stream>>>(\n  g(1), b); g<<<x, y, 0, stream>>>(c);"
    )
    assert translated(source) == (
        "if (a) emulate(ns::grid(n), kThreads, [&] { ns::f<Type>(\n  g(1), b); }); "
        "emulate(x, y, [&] { g(c); });"
    )


@slow
def test_kernels_agree_with_the_cpu(tmp_path):
    for path in [*SOURCES.glob("*/*.cu")]:
        (tmp_path / f"{path.stem}.cc").write_text(translated(path.read_text()))
    include = build.find_tensorflow()["flags"][0]  # Eigen lies in TensorFlow's headers
    flags = [
        "-std=c++17",
        "-O1",
        "-w",
        "-D__CUDACC__",
        "-DEIGEN_NO_CUDA",
        f"-I{SOURCES}/tests/cuda_on_cpu",
        f"-I{SOURCES}",
        include,
    ]
    units = sorted(str(path) for path in tmp_path.glob("*.cc"))
    build.run([build.find_compiler(), *flags, *units, "-o", str(tmp_path / "kernels")], verbose=False)
    done = subprocess.run([tmp_path / "kernels"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "all CUDA kernels agree" in done.stdout


@pytest.mark.skipif(shutil.which("nvcc") is None, reason="there is no nvcc here")
@pytest.mark.parametrize("path", sorted(SOURCES.glob("*/*.cu")), ids=lambda path: path.stem)
def test_nvcc_compiles(tmp_path, path):
    """To PTX, a second for each; with KDET_SANITIZE=1 to machine code, with the host's part."""
    include = build.find_tensorflow()["flags"][0]
    depth = "-c" if os.environ.get("KDET_SANITIZE") == "1" else "-ptx"
    command = ["nvcc", "-std=c++17", "-arch=sm_80", "-w", f"-I{SOURCES}", include, depth, str(path)]
    build.run([*command, "-o", str(tmp_path / "kernel")], verbose=False)
    assert (tmp_path / "kernel").stat().st_size > 0


@slow
@pytest.mark.skipif(shutil.which("nvcc") is None, reason="there is no nvcc here")
def test_the_library_carries_the_runtime_of_nvcc(tmp_path, monkeypatch):
    """TensorFlow exports that of another CUDA."""
    monkeypatch.setenv("KDET_CUDA_ARCH", "sm_80")
    library = build.build(output_dir=tmp_path, cuda=True)
    symbols = subprocess.run(["nm", "-D", library], capture_output=True, text=True, check=True).stdout
    assert re.findall(r"\b_*(?:cuda|cu[A-Z])\w+", symbols) == []
