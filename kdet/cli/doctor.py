"""Say in one screen what is installed and what it can do here: versions, compiled ops, GPU, cache."""

import argparse
import importlib.metadata
import importlib.util
import os
import pathlib
import platform

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
    """There are none."""


def run(options: argparse.Namespace) -> None:
    for title, lines in report().items():
        print(f"{title:13} {lines[0]}")
        for line in lines[1:]:
            print(f"{'':13} {line}")


def report() -> dict[str, list[str]]:
    """Return the lines of every part of the report."""
    import tensorflow as tf

    from kdet.convert.fetch import home
    from kdet.ops import build, compiled, dispatch

    gpus = [device.name for device in tf.config.list_physical_devices("GPU")]
    if gpus and not compiled.has_gpu_kernels():
        gpus.append("the ops run in their portable form there: `KDET_CUDA=1 python -m kdet.ops build`")
    missing = compiled.why_not()
    used = [f"chosen form: {dispatch.wanted()} (KDET_OPS: {os.environ.get('KDET_OPS') or 'not set'})"]
    return {
        "python": [f"{platform.python_version()} on {platform.platform()}"],
        "packages": [f"{name} {_version(name)}" for name in PACKAGES],
        "optional": [_optional(name, *about) for name, about in OPTIONAL.items()],
        "processor": [
            f"{os.cpu_count()} cores, {', '.join(build.cpu_features()) or 'no vector units known'}"
        ],
        "compiled ops": [missing or f"ready: {compiled.FOLDER / build.LIBRARY}", *used],
        "GPU": gpus or ["none"],
        "cache": [_cache(home())],
    }


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
