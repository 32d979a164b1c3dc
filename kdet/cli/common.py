"""Arguments that several commands share, spelled the same way everywhere."""

import argparse
import glob
import pathlib
import sys
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from tqdm import tqdm

from kdet.errors import short

if TYPE_CHECKING:
    from kdet.config import Config
    from kdet.detectors import Detector
    from kdet.typing import PathLike

DTYPES = {"float32": "float32", "bfloat16": "mixed_bfloat16", "float16": "mixed_float16"}


def whole_number(least: int, most: int = 2**31 - 1) -> Callable[[str], int]:
    """Return the ``type`` of an option that takes a whole number."""

    def parse(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = least - 1
        if not least <= value <= most:
            raise argparse.ArgumentTypeError(
                f"expected a whole number from {least} to {most}; got {short(text)}"
            )
        return value

    return parse


def share(text: str) -> float:
    """The ``type`` of an option that takes a number from 0 to 1."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:  # NaN is in no interval
        raise argparse.ArgumentTypeError(f"expected a number from 0 to 1; got {short(text)}")
    return value


def milliseconds(text: str) -> float:
    """The ``type`` of an option that takes a time of at most an hour."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 3_600_000:
        raise argparse.ArgumentTypeError(f"expected milliseconds from 0 to 3600000; got {short(text)}")
    return value


def folder(text: str) -> pathlib.Path:
    """As :func:`path`, as a ``pathlib.Path``."""
    return pathlib.Path(path(text))


def path(text: str) -> str:
    """The ``type`` of an option that takes a file or a folder."""
    if not text.strip() or "\0" in text:
        raise argparse.ArgumentTypeError(f"expected a file or a folder; got {short(text)}")
    return text


def add_recipe(parser: argparse.ArgumentParser, *, weights: bool = True, optional: bool = False) -> None:
    """Add the recipe, ``--weights`` and ``--set``."""
    parser.add_argument(
        "recipe",
        nargs="?" if optional else None,
        help="name of a recipe that ships with kdet (see `kdet zoo list`), a YAML file, the work "
        "directory of a run, a preset (a folder or hf://user/model), or the URL of one of these",
    )
    if weights:
        parser.add_argument(
            "--weights",
            type=path,
            default="published",
            help="a .pth, .safetensors, .weights.h5 or .keras file or its URL, 'published' (default), "
            "'imagenet', or 'none': untrained, for trials",
        )
    parser.add_argument(
        "--set",
        nargs="+",
        action="extend",
        default=[],
        metavar="KEY=VALUE",
        help="change the recipe, for example --set train.epochs=24 model.num_classes=3",
    )


def add_data(parser: argparse.ArgumentParser) -> None:
    """Add ``--data``."""
    parser.add_argument(
        "--data",
        metavar="PATH",
        help="your own data in the place of the recipe's: a data.yaml or folder of a YOLO data set, a VOC "
        "folder, or another folder with a train and a val split (see `kdet dataset`)",
    )


def over_own_data(config: "Config", options: argparse.Namespace) -> "Config":
    """Put the data that ``--data`` names in the place of the recipe's, and return the recipe."""
    if options.data:
        from kdet.curation.own_data import use_data

        use_data(config, options.data)
    return config


def add_strategy(parser: argparse.ArgumentParser) -> None:
    """Add ``--strategy``."""
    parser.add_argument(
        "--strategy",
        default="auto",
        choices=["auto", "one", "mirrored", "multiworker", "tpu"],
        help="how devices share the work (default auto: all GPUs here, or the workers of TF_CONFIG)",
    )


def add_ray(parser: argparse.ArgumentParser) -> None:
    """Add ``--ray``."""
    parser.add_argument(
        "--ray",
        nargs="?",
        const="",
        metavar="workers=4,gpus=1",
        help="run on a Ray cluster (RAY_ADDRESS, else this machine): so many processes with so many GPUs, "
        "cpus, and retries of a run each",
    )


def add_dtype(parser: argparse.ArgumentParser) -> None:
    """Add ``--dtype`` for a model that runs here."""
    parser.add_argument(
        "--dtype",
        choices=list(DTYPES),
        default="float32",
        help="what is computed in; weights stay float32 (default float32)",
    )


def load_recipe(options: argparse.Namespace) -> "tuple[Config, PathLike | None]":
    """Return the recipe that the options name, and the weights: of a preset its own.

    Raises:
        KdetError: there is no such recipe, or what is named as weights certainly holds none.
    """
    from kdet import presets, zoo
    from kdet.config import Config

    weights = None if options.weights == "none" else options.weights
    recipe, weights = presets.resolve(options.recipe, weights)
    config = Config.load(recipe, options.set)
    zoo.check_weights(weights)
    return config, weights


def load_model(options: argparse.Namespace) -> "tuple[Config, Detector]":
    """Return the recipe and the model with its weights that the options name."""
    config, weights = load_recipe(options)
    return config, build_model(config, options, weights)


def build_model(config: "Config", options: argparse.Namespace, weights: "PathLike | None") -> "Detector":
    """Return the model of a recipe, filled with weights."""
    from kdet import zoo
    from kdet.precision import quick_policy

    with zoo.dtype_policy(quick_policy(DTYPES.get(options.dtype) if "dtype" in options else None)):
        model = config.build("model")
    zoo.fill(model, config, weights)
    return model


def find_images(given: Iterable[str]) -> "list[PathLike]":
    """Return the files that were named or match a pattern, and the images in the folders that were named.

    Raises:
        FileNotFoundError: no such file or folder. ValueError: there is no image in any of them.
    """
    from kdet import storage
    from kdet.detectors.given import SUFFIXES

    paths: list[PathLike] = []
    for name in given:
        item = pathlib.Path(name)
        if storage.is_url(name):
            paths += storage.meant(name, SUFFIXES)
        elif item.is_dir():
            paths += sorted(path for path in item.iterdir() if path.suffix.lower() in SUFFIXES)
        elif item.exists():
            paths.append(item)
        elif glob.has_magic(name):
            matches = sorted(map(pathlib.Path, glob.iglob(name, recursive=True)))
            paths += [path for path in matches if path.suffix.lower() in SUFFIXES]
        else:
            raise FileNotFoundError(f"There is no image or folder {item}.")
    if not paths:
        raise ValueError(f"There are no images ({', '.join(SUFFIXES)}) in {', '.join(map(str, given))}.")
    return paths


def progress_bar(total: int, unit: str = "image", shown: bool = True) -> tqdm:
    """Return a progress bar on the standard error, silent where that is no terminal."""
    return tqdm(total=total, unit=f" {unit}s", disable=not (shown and sys.stderr.isatty()), leave=False)
