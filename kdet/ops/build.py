"""Compiles ``custom_ops/`` for the TensorFlow in use: ``python -m kdet.ops build``.

This file imports nothing of kdet, so that an installer can run it by its path. It needs a C++17 compiler
(``$CXX``, else g++, clang++ or c++) and TensorFlow. The library holds every kernel once per instruction set
and takes the best that a processor has, so it runs on other machines than the one it was built on. Next to
it stands what it was built for; `kdet.ops.compiled` refuses a library built for another TensorFlow.
"""

import argparse
import concurrent.futures
import hashlib
import importlib.metadata
import importlib.util
import json
import os
import pathlib
import platform
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence

HERE = pathlib.Path(__file__).resolve().parent
LIBRARY, STAMP = "libkdet_ops.so", "libkdet_ops.json"
# Strict enough for NaN and infinity; ``-fopenmp-simd`` only enables the pragmas that vectorise sums.
OPTIONS = ["-O3", "-fPIC", "-std=c++17", "-w", "-fno-math-errno", "-fno-trapping-math", "-fopenmp-simd"]
_AVX2 = ["-mavx2", "-mfma", "-mf16c"]
# By architecture: what the kernels are compiled for, in rising order, and with which options. A processor
# takes the last one that it has (custom_ops/common/instruction_set.cc); all of them have the first.
INSTRUCTION_SETS = {
    "x86_64": {
        "baseline": [],
        "avx2": _AVX2,
        "avx512": [*_AVX2, "-mavx512f", "-mavx512bw", "-mavx512vl", "-mavx512dq"],
    }
}
# Compilers that work on the kernels of one instruction set.
_KERNEL_UNITS = 2


def build(
    output_dir: str | pathlib.Path | None = None,
    jobs: int | None = None,
    cuda: bool | None = None,
    verbose: bool = False,
) -> pathlib.Path:
    """Compiles all ops into one library.

    Args:
        output_dir: where the library goes; the default is the folder that kdet loads it from.
        jobs: compilers at a time, default one per core.
        cuda: whether to compile the CUDA kernels too; default: ``KDET_CUDA=1`` is set.
        verbose: print the commands.

    Returns:
        Path of the library.

    Raises:
        RuntimeError: there is no compiler, no source, no TensorFlow, or a file does not compile.
    """
    cuda = os.environ.get("KDET_CUDA") == "1" if cuda is None else cuda
    compiler, sources = find_compiler(), find_sources()
    tensorflow = find_tensorflow()
    flags = [*OPTIONS, f"-I{sources}", *tensorflow["flags"]]
    flags += ["-DKDET_CUDA", f"-I{cuda_home()}/include"] if cuda else []
    jobs = jobs or os.cpu_count() or 1
    with tempfile.TemporaryDirectory() as folder:
        scratch = pathlib.Path(folder)
        # In the order in which the linker must see them: see custom_ops/common/instruction_set.h.
        wrappers = joined_units(sources, "*_op.cc", scratch / "ops", min(jobs, 2))
        units = [(unit, [compiler, *flags]) for unit in wrappers]
        units.append((sources / "common" / "instruction_set.cc", [compiler, *flags]))
        for name, options in instruction_sets().items():
            own = [compiler, *flags, *options, f"-DKDET_ISA={name}"]
            units += [
                (unit, own) for unit in joined_units(sources, "*_cpu.cc", scratch / name, _KERNEL_UNITS)
            ]
        if cuda:
            kernels = [path for path in sorted(sources.glob("*/*.cu")) if path.parent.name != "tests"]
            units += [(source, cuda_command(sources)) for source in kernels]
        objects = [scratch / f"{source.name}.o" for source, _ in units]
        with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
            commands = [
                [*command, "-c", str(source), "-o", str(target)]
                for (source, command), target in zip(units, objects)
            ]
            list(pool.map(lambda command: run(command, verbose), commands))
        linked = scratch / LIBRARY
        link = [compiler, "-shared", *map(str, objects), "-o", str(linked)]
        if cuda:
            # Before TensorFlow, which exports the runtime of its own CUDA: nvcc's is needed.
            link += [f"-L{cuda_home()}/lib64", "-lcudart_static", "-Wl,--exclude-libs,libcudart_static.a"]
        run([*link, *tensorflow["link"], "-ldl", "-lrt", "-lpthread"], verbose)
        return install(linked, output_dir, cuda)


def install(
    library: str | pathlib.Path,
    output_dir: str | pathlib.Path | None = None,
    cuda: bool = False,
) -> pathlib.Path:
    """Puts a compiled library where kdet finds it and notes what it was built for.

    Args:
        library: path of the library: of `build`, or of Bazel.
        output_dir: as in `build`.
        cuda: whether it has the CUDA kernels.

    Returns:
        Path of the installed library.
    """
    output_dir = pathlib.Path(output_dir or HERE)
    output_dir.mkdir(parents=True, exist_ok=True)
    stamp = {"tensorflow": tensorflow_version(), "cuda": cuda, "sources": sources_digest()}
    # A library that is in use must not be written over: put the new one in its place.
    shutil.copyfile(library, output_dir / f"{LIBRARY}.new")
    os.replace(output_dir / f"{LIBRARY}.new", output_dir / LIBRARY)
    (output_dir / STAMP).write_text(json.dumps(stamp))
    return output_dir / LIBRARY


def joined_units(sources: pathlib.Path, pattern: str, to: pathlib.Path, count: int) -> Iterator[pathlib.Path]:
    """Files that each include their share of the sources of all ops: most of the time goes into the headers.

    Args:
        pattern: of the names of the sources.
        to: path that the names of the files begin with.
        count: number of files.
    """
    found = sorted(sources.glob(f"*/{pattern}"), key=lambda path: -_weight(path))
    for number in range(min(count, len(found))):
        unit = to.with_name(f"{to.name}_{number}.cc")
        unit.write_text("".join(f'#include "{path}"\n' for path in found[number::count]))
        yield unit


def _weight(source: pathlib.Path) -> int:
    """Bytes of a source and of its kernels' headers, about what it takes to compile."""
    return source.stat().st_size + sum(path.stat().st_size for path in source.parent.glob("*_cpu.h"))


def instruction_sets(machine: str | None = None) -> dict[str, list[str]]:
    """The options of every instruction set that the kernels are compiled for.

    Args:
        machine: architecture as `platform.machine` says it; default: this one.
    """
    return INSTRUCTION_SETS.get(machine or platform.machine(), {"baseline": []})


def run(command: Sequence[str], verbose: bool) -> None:
    if verbose:
        print(shlex.join(command), flush=True)
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{shlex.join(command)}\nfailed:\n{done.stderr[-4000:]}")


def find_compiler() -> str:
    named = os.environ.get("CXX")
    for name in [named] if named else ["g++", "clang++", "c++"]:
        if found := shutil.which(name):
            return found
    raise RuntimeError(f"No C++ compiler found (looked for {named or 'g++, clang++ and c++'}); set CXX.")


def find_sources() -> pathlib.Path:
    """``custom_ops/`` of a checkout, or its copy in an installed package."""
    for folder in (HERE.parent.parent / "custom_ops", HERE.parent / "_custom_ops"):
        if (folder / "common").is_dir():
            return folder
    raise RuntimeError(f"The sources of the ops are not at {HERE.parent.parent / 'custom_ops'}.")


def sources_digest() -> str | None:
    """A number of the sources as they are; None where there are none."""
    try:
        folder = find_sources()
    except RuntimeError:
        return None
    files = [path for path in sorted(folder.glob("*/*")) if path.suffix in (".h", ".cc", ".cu")]
    digest = hashlib.sha256()
    for path in files:
        if path.parent.name != "tests":
            digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()


def find_tensorflow() -> dict[str, list[str]]:
    """Flags of the installed TensorFlow, without importing it (that takes seconds)."""
    spec = importlib.util.find_spec("tensorflow")
    if spec is None:
        raise RuntimeError("TensorFlow is not installed here; install it before compiling the ops.")
    folder = pathlib.Path(spec.origin or "").parent
    return {
        "flags": [f"-I{folder / 'include'}", "-D_GLIBCXX_USE_CXX11_ABI=1", "-DEIGEN_MAX_ALIGN_BYTES=64"],
        "link": [f"-L{folder}", f"-Wl,-rpath,{folder}", "-l:libtensorflow_framework.so.2"],
    }


def tensorflow_version() -> str:
    for name in ("tensorflow", "tensorflow-cpu"):
        try:
            return importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    raise RuntimeError("TensorFlow is importable, but the version of its package is not known.")


def cuda_home() -> str:
    return os.environ.get("CUDA_HOME", "/usr/local/cuda")


def cuda_command(sources: pathlib.Path) -> list[str]:
    compiler = shutil.which("nvcc") or f"{cuda_home()}/bin/nvcc"
    target = os.environ.get("KDET_CUDA_ARCH", "native")
    return [compiler, "-O3", "-std=c++17", f"-arch={target}", "-Xcompiler", "-fPIC", f"-I{sources}"]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("command", choices=["build", "install"])
    parser.add_argument("library", nargs="?", help="for install: the library that Bazel built")
    parser.add_argument("--output-dir", help="folder of the library (default: where kdet looks for it)")
    parser.add_argument("--jobs", type=int, help="compilers at a time (default: one per core)")
    parser.add_argument("--verbose", action="store_true", help="print the commands")
    options = parser.parse_args(arguments)
    if (options.library is None) != (options.command == "build"):
        parser.error("`install` needs the path of a library, `build` takes none")
    try:
        if options.command == "install":
            print(install(options.library, options.output_dir))
        else:
            print(build(output_dir=options.output_dir, jobs=options.jobs, verbose=options.verbose))
    except (RuntimeError, OSError) as error:
        raise SystemExit(f"kdet.ops: {error}") from None


if __name__ == "__main__":
    main()
