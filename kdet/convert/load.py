"""Weights into a detector from wherever they are: published, ImageNet, or a file at hand."""

import logging
import os
import pathlib
from collections.abc import Iterator
from typing import Any

import keras

from kdet.config import Config
from kdet.convert import cache, safe_load
from kdet.convert.checkpoint import load_checkpoint
from kdet.convert.fetch import SCHEMES, FetchError, fetch, file_name
from kdet.convert.pretrained import load_pretrained
from kdet.convert.state_dict import LoadReport
from kdet.data.files import open_regular
from kdet.errors import CheckpointError, KdetError, MissingFile, short
from kdet.typing import KeyPath, PathLike
from kdet.writing import cache_folder

logger = logging.getLogger("kdet")

_ENDINGS = {
    "HDF5": (".weights.h5",),
    ".keras": (".keras",),
    "safetensors": (".safetensors",),
    "PyTorch": (".pth", ".pt", ".tar"),
}


def load_published(model: keras.Model, config: Config, *, allow_mismatch: bool = False) -> LoadReport:
    """Fills a detector with the published weights of its recipe.

    The first call downloads and converts; later calls read the converted weights.

    Args:
        model: the built detector.
        config: its recipe; ``config["metadata"]["checkpoint"]`` is the address.
        allow_mismatch: tensors of another shape (another number of classes) keep the model's values.

    Returns:
        A ``LoadReport``.

    Raises:
        FetchError: nothing was published under this name, or it cannot be downloaded.
        CheckpointError, IncompleteStateDict: as ``load_checkpoint``.
    """
    metadata = config.get("metadata", {})
    address = metadata.get("checkpoint")
    if not address:
        raise FetchError(f"No weights were published for {config.name}.")
    converted = (
        cache_folder() / "converted" / (pathlib.PurePosixPath(file_name(address)).stem + ".safetensors")
    )
    if converted.exists() and cache.load_weights(model, converted):
        return LoadReport(filled=len(model.weights))
    legacy = True if metadata.get("family") == "legacy_1.x" else None
    report = load_checkpoint(model, fetch(address), allow_mismatch=allow_mismatch, legacy=legacy)
    if not report.mismatched and cache.is_exact(model):
        try:
            cache.save_weights(model, converted)
        except OSError as error:
            logger.warning("The converted weights of %s are not kept: %s", config.name, error)
    return report


def is_address(weights: PathLike) -> bool:
    """Whether weights are named by where they are on the network."""
    return str(weights).startswith(SCHEMES)


def check_file(path: PathLike) -> None:
    """Raise for a file that is certainly none of weights, before a model is built for it.

    Raises:
        MissingFile: there is no such file.
        CheckpointError: it is no regular file, its ending is of no kind that kdet reads, or it does not start
            as files of that ending do.
    """
    name = str(path)
    try:
        missing = not os.path.lexists(name)
    except ValueError:  # a NUL in the name
        missing = True
    if missing:
        raise MissingFile(f"There is no weights file {short(name)[1:-1]}.")
    kind = next((kind for kind, endings in _ENDINGS.items() if name.endswith(endings)), None)
    if kind is None:
        raise CheckpointError(f"{path}: kdet reads .pth, .safetensors, .weights.h5 and .keras files.")
    with open_regular(path, "weights file", CheckpointError) as file:
        head, size = file.read(512), os.fstat(file.fileno()).st_size
    pickled = head[:1] == b"\x80" and head[1:2] <= b"\x05"  # the protocol, as PyTorch before 1.6 writes it
    fits = {
        "HDF5": head.startswith(b"\x89HDF"),
        ".keras": head.startswith(b"PK"),
        "safetensors": head[8:9] == b"{",
        "PyTorch": head.startswith(b"PK") or pickled or head[257:262] == b"ustar",
    }
    if not fits[kind]:
        what = f"it starts with {short(head[:8])} ({size} bytes)" if head else "it is empty"
        raise CheckpointError(f"{path} is no {kind} file: {what}.")


def load_file(
    model: keras.Model, path: PathLike, *, strict: bool = True, allow_mismatch: bool = False
) -> LoadReport:
    """Fills a detector from a ``.pth``, ``.safetensors``, ``.weights.h5`` or ``.keras`` file.

    Args:
        model: the built detector.
        path: the file, or the address of a published one.
        strict, allow_mismatch: as in ``kdet.convert.load_state_dict``.

    Returns:
        A ``LoadReport``.

    Raises:
        MissingFile: no such file.
        FetchError, CheckpointError, IncompleteStateDict: as ``load_checkpoint``.
        IncompleteWeights: a file of Keras and the model do not cover each other.
    """
    path = pathlib.Path(fetch(str(path)) if is_address(path) else path)
    check_file(path)
    if path.suffix == ".safetensors" and cache.is_own(path):
        return cache.fill(model, path, allow_mismatch)
    if path.name.endswith((".weights.h5", ".keras")):
        found = safe_load.load(model, path, allow_mismatch)
        if found is not None:
            return LoadReport(
                unfilled=found.missing,
                left_over=found.surplus,
                mismatched=dict(found.mismatched),
                filled=len(model.weights) - len(found.missing) - len(found.mismatched),
            )
    else:
        return load_checkpoint(model, path, strict=strict, allow_mismatch=allow_mismatch)
    return LoadReport(filled=len(model.weights))


def load_imagenet(model: keras.Model, config: Config) -> dict[str, LoadReport]:
    """Fills the backbone (every part whose spec says ``pretrained``) with the file its recipe names.

    Returns:
        ``{attribute path: LoadReport}``.

    Raises:
        ValueError: the recipe names no pretrained file.
        FetchError, CheckpointError, IncompleteStateDict: as ``load_pretrained``.
    """
    reports = {}
    for path, source in _pretrained_parts(config["model"], ()):
        part = model
        for attribute in path:
            part = getattr(part, attribute)  # the keys of the recipe
        reports[".".join(path)] = load_pretrained(part, source)
    if not reports:
        raise KdetError(f"The recipe {config.name} names no pretrained weights for its backbone.")
    return reports


def _pretrained_parts(spec: dict[str, Any], path: KeyPath) -> Iterator[tuple[KeyPath, str]]:
    for key, value in spec.items():
        if key == "pretrained" and value:
            yield path, value
        elif isinstance(value, dict):
            yield from _pretrained_parts(value, (*path, key))
