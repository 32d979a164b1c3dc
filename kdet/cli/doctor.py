"""Say in one screen what is installed and what it can do here: versions, compiled ops, GPU, cache."""

import argparse
import importlib.metadata
import importlib.util
import os
import pathlib
import platform
import subprocess
import sys

from kdet.errors import KdetError

HELP = "say what is installed and what it can do here"
PACKAGES = ("kdet", "tensorflow", "keras", "numpy", "pycocotools", "faster-coco-eval")
# {package: (module, what it adds)}
OPTIONAL = {
    "opencv-python-headless": ("cv2", "the input pipeline runs 2.5 times as fast with it"),
    "albumentations": (
        "albumentations",
        "its transforms need it: pip install 'kdet[albu]'",
    ),
    "ai-edge-litert": ("ai_edge_litert", "exports to TFLite are checked with it"),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--bench",
        action="store_true",
        help="time every compiled op against TensorFlow's own form on this machine, too (minutes)",
    )


def run(options: argparse.Namespace) -> None:
    for title, lines in report().items():
        print(f"{title:13} {lines[0]}")
        for line in lines[1:]:
            print(f"{'':13} {line}")
    if options.bench:
        _bench()


def report() -> dict[str, list[str]]:
    """Return the lines of every part of the report."""
    import tensorflow as tf

    from kdet.ops import build, compiled, dispatch
    from kdet.writing import cache_folder

    gpus = [device.name for device in tf.config.list_physical_devices("GPU")]
    if gpus and not compiled.has_gpu_kernels():
        gpus.append("the ops run in their portable form there: `KDET_CUDA=1 python -m kdet.ops build`")
    missing = compiled.why_not()
    used = [f"chosen form: {dispatch.wanted()} (KDET_OPS: {os.environ.get('KDET_OPS') or 'not set'})"]
    return {
        "python": [f"{platform.python_version()} on {platform.platform()}"],
        "packages": [f"{name} {_version(name)}" for name in PACKAGES],
        "optional": [_optional(name, *about) for name, about in OPTIONAL.items()],
        "processor": [f"{os.cpu_count()} cores, {platform.machine()}"],
        "compiled ops": [missing or f"ready: {compiled.FOLDER / build.LIBRARY}", *used, *_kernels()],
        "GPU": gpus or ["none"],
        "cache": [_cache(cache_folder())],
    }


def _bench() -> None:
    """Prints a table of both forms of the ops, timed on one thread in a process of its own."""
    from kdet.ops import compiled, processor

    if (missing := compiled.why_not()) is not None:
        raise KdetError(f"--bench times compiled ops, and there are none. {missing}")
    print(f"\nMilliseconds of processor time on one thread, kernels for {processor.cpu()}:\n", flush=True)
    subprocess.run([sys.executable, "-m", "kdet.ops.bench"], check=True)


def _kernels() -> list[str]:
    """What is said of the instruction sets of the compiled ops."""
    from kdet.ops import compiled, processor

    if compiled.why_not() is not None:
        return []
    named = os.environ.get("KDET_CPU") or "not set"
    return [f"kernels: {processor.cpu()} of {', '.join(processor.cpus())} (KDET_CPU: {named})"]


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "is not installed"


def _optional(name: str, module: str, about: str) -> str:
    found = importlib.util.find_spec(module) is not None
    return f"{name} {_version(name) if found else f'is not installed: {about}'}"


def _cache(folder: pathlib.Path) -> str:
    files = [path for path in folder.rglob("*") if path.is_file()] if folder.is_dir() else []
    size = sum(path.stat().st_size for path in files) / 1e6
    return f"{folder}: {len(files)} files, {size:.0f} MB (KDET_HOME chooses another)"
