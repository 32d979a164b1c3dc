"""The published models by name: what there is, what is known about one, and one loaded.

>>> kdet.zoo.list("mask_rcnn_r50*")
>>> kdet.zoo.info("mask_rcnn_r50_fpn_1x")
>>> kdet.zoo.load("mask_rcnn_r50_fpn_1x", num_classes=3)
"""

import builtins
import contextlib
import dataclasses
import fnmatch
import logging
import pathlib
from collections.abc import Iterator
from typing import Any

import keras

from kdet import convert, published
from kdet.class_names import require_same
from kdet.config import Config, recipes
from kdet.convert import LoadReport
from kdet.detectors import Detector
from kdet.overrides import class_count
from kdet.train import facts
from kdet.typing import PathLike

__all__ = ["ModelInfo", "info", "list", "load"]

logger = logging.getLogger("kdet")


@dataclasses.dataclass(frozen=True)
class ModelInfo:
    """What is known about a recipe. Figures are the reference's published ones, ``None`` where it has none.

    Attributes:
        name, family, config: kdet's name, the family, and the path of the recipe.
        detector, backbone: class of the detector; class and depth of its backbone.
        num_classes: classes that it was trained for, ``None`` for proposal networks.
        parameters: learnable parameters of the published model.
        box_ap, mask_ap, ar1000: COCO val AP (AR at 1000 proposals) in percent.
        train_mem_gb, fps: training memory per GPU and inference speed as measured by the reference.
        checkpoint, sha256: address of the published weights and the first eight digits of their hash.
        imagenet: name of the ImageNet weights that training starts from.
        aliases: other spellings that ``load`` takes.
    """

    name: str
    family: str
    config: pathlib.Path
    detector: str
    backbone: str
    num_classes: int | None = None
    parameters: int | None = None
    box_ap: float | None = None
    mask_ap: float | None = None
    ar1000: float | None = None
    train_mem_gb: float | None = None
    fps: float | None = None
    checkpoint: str | None = None
    sha256: str | None = None
    imagenet: str | None = None
    mmdet_config: str | None = None
    aliases: tuple[str, ...] = ()

    def __str__(self) -> str:
        # a dataclass over its own fields
        rows = [(f.name, getattr(self, f.name)) for f in dataclasses.fields(self)]
        return "\n".join(f"{key:13} {value}" for key, value in rows if value not in (None, ()))


def list(pattern: str = "*") -> builtins.list[str]:
    """Sorted names of the recipes that match a shell pattern (``"retinanet*"``)."""
    return sorted(name for name in recipes() if fnmatch.fnmatch(name, pattern))


def info(name: PathLike) -> ModelInfo:
    """:class:`ModelInfo` of a recipe by name or alias; unknown names raise with the nearest ones."""
    config = Config.load(name, check=False)
    known = {field.name for field in dataclasses.fields(ModelInfo)}
    figures = {key: value for key, value in config.get("metadata", {}).items() if key in known}
    model = config["model"]
    backbone = model.get("backbone", {})
    path = pathlib.Path(config.path or "")
    figures.setdefault("family", path.parent.name)
    figures["aliases"] = tuple(figures.get("aliases", ()))
    return ModelInfo(
        name=config.name,
        config=path,
        detector=model["type"],
        backbone=" ".join(str(backbone[key]) for key in ("type", "depth") if key in backbone),
        num_classes=class_count(model),
        imagenet=backbone.get("pretrained"),
        **figures,
    )


def load(
    name: PathLike,
    weights: PathLike | None = "published",
    num_classes: int | None = None,
    dtype: str | None = None,
    **overrides: Any,
) -> Detector:
    """Builds a detector and fills it with weights.

    Args:
        name: name or alias of a recipe, or path of a YAML file.
        weights: ``"published"`` the detector as published (fetched once, checked, cached);
            ``"imagenet"`` the backbone that training starts from; a path of a ``.pth``, ``.weights.h5``
            or ``.keras`` file; ``None`` random weights.
        num_classes: classes of the new model. Published weights that fit another number of classes fill
            everything but the layers whose shape differs; those are reported in the log and start fresh.
        dtype: Keras dtype policy (``"mixed_bfloat16"`` ...), ``None`` for the current global one.
        **overrides: dotted changes of the recipe: ``**{"model.backbone.frozen_stages": -1}``.

    Returns:
        The detector, a ``keras.Model``.

    Raises:
        kdet.errors.ConfigError: unknown name or override. Other errors come from ``kdet.convert`` and say
            what to do when weights are missing, cannot be fetched, or do not fit.
    """
    config = Config.load(name, overrides)
    if num_classes is not None:
        set_num_classes(config, num_classes)
    with dtype_policy(dtype):
        model = config.build("model")
    fill(model, config, weights, partial=num_classes is not None)
    return model


def fill(model: Detector, config: Config, weights: PathLike | None, partial: bool = False) -> None:
    """Fills a built detector; see :func:`load` for ``weights``.

    Args:
        model: the detector that ``config`` describes.
        config: its recipe, for the addresses of the weights.
        weights: as in :func:`load`, the address of a file, or the name of a recipe whose published
            weights are meant (``train.initial`` of a recipe that fine-tunes another).
        partial: tensors of another shape keep the model's values and are reported.
    """
    if weights is None:
        return
    try:
        report = _fill(model, config, weights, partial)
    except convert.FetchError as error:
        hint = f"Other weights for {config.name}: weights=<a .pth file>, or weights=None for random ones."
        raise convert.FetchError(f"{error} {hint}") from error
    if report is not None and report.mismatched:
        logger.warning("Started afresh, the weights are for another number of classes: %s", report)


def _fill(model: Detector, config: Config, weights: PathLike, partial: bool) -> LoadReport | None:
    if weights == "imagenet":
        convert.load_imagenet(model, config)
        return None
    if weights == "published":
        return convert.load_published(model, config, allow_mismatch=partial)
    name = published.canonical_name(str(weights))
    if name in recipes():
        return convert.load_published(model, Config.load(name, check=False), allow_mismatch=partial)
    report = convert.load_file(model, weights, allow_mismatch=partial)
    if not partial and str(weights).endswith(".weights.h5"):
        _take_class_names(model, weights)
    return report


def _take_class_names(model: Detector, weights: PathLike) -> None:
    """The names that a training run left in its weights, which those of the model must equal."""
    written = facts.read(pathlib.Path(weights)).get("class_names")
    if written is None or model.num_classes is None:
        return
    require_same(written, model.class_names, f"the weights {weights}", "the recipe")
    model.class_names = written


def set_num_classes(config: Config, num_classes: int) -> None:
    """Sets every ``num_classes`` of the model section (in place).

    Raises:
        ValueError: the model has no classes (a proposal network).
    """
    if num_classes < 1:
        raise ValueError(f"num_classes must be at least 1, got {num_classes}.")
    if class_count(config["model"]) is None:
        raise ValueError(f"{config.name} has no classes, so num_classes={num_classes} has no place in it.")
    config.override({"model.num_classes": num_classes})


@contextlib.contextmanager
def dtype_policy(dtype: str | None) -> Iterator[None]:
    """Models built inside have the Keras dtype policy ``dtype``; ``None`` leaves it as it is."""
    if dtype is None:
        yield
        return
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(dtype)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)
