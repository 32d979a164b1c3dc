"""The published models by name: what there is, what is known about one, and one loaded.

>>> kdet.zoo.list("mask_rcnn_r50*")
>>> kdet.zoo.list(task="instance", min_ap=42)
>>> kdet.zoo.recommend("instance", budget_ms=500)
>>> kdet.zoo.info("mask_rcnn_r50_fpn_1x")
>>> kdet.zoo.load("mask_rcnn_r50_fpn_1x", num_classes=3)
>>> kdet.zoo.fetch("mask_rcnn_r50*")
"""

import builtins
import contextlib
import dataclasses
import fnmatch
import logging
import os
import pathlib
from collections.abc import Iterator
from typing import Any, Literal, TypeAlias

import keras

from kdet import convert, hubs, presets, published, storage
from kdet.class_names import require_same
from kdet.config import Config, recipes
from kdet.convert import LoadReport, pretrained
from kdet.detectors import Detector
from kdet.errors import CheckpointError, KdetError, short
from kdet.overrides import class_count, label_count
from kdet.precision import quick_policy
from kdet.recommend import FIGURES, recommend
from kdet.train import facts
from kdet.typing import PathLike

__all__ = ["ModelInfo", "fetch", "info", "list", "load", "recommend", "upload"]

logger = logging.getLogger("kdet")

Task: TypeAlias = Literal["detection", "instance", "panoptic", "proposal"]


@dataclasses.dataclass(frozen=True)
class ModelInfo:
    """What is known about a recipe. Figures are the reference's published ones, ``None`` where it has none.

    Attributes:
        name, family, config: kdet's name, the family, and the path of the recipe.
        detector, backbone: class of the detector; class and depth of its backbone.
        num_classes: classes that it was trained for, of things and stuff; ``None`` for proposal networks.
        parameters: learnable parameters of the published model.
        box_ap, mask_ap, ar1000, pq: COCO val AP (AR at 1000 proposals, panoptic quality) in percent.
        train_mem_gb, fps: training memory per GPU and inference speed as measured by the reference.
        checkpoint, sha256: address of the published weights and the first eight digits of their hash.
        imagenet: name of the ImageNet weights that training starts from.
        source: library that the model is from.
        license: of the published weights.
        input_size: width x height that it was published for, where images are always brought to one size.
        aliases: other spellings that ``load`` takes.
    """

    name: str
    family: str
    config: PathLike
    detector: str
    backbone: str
    num_classes: int | None = None
    parameters: int | None = None
    box_ap: float | None = None
    mask_ap: float | None = None
    ar1000: float | None = None
    pq: float | None = None
    train_mem_gb: float | None = None
    fps: float | None = None
    checkpoint: str | None = None
    sha256: str | None = None
    imagenet: str | None = None
    mmdet_config: str | None = None
    source: str | None = None
    license: str | None = None
    input_size: str | None = None
    aliases: tuple[str, ...] = ()

    def __str__(self) -> str:
        # a dataclass over its own fields
        rows = [(f.name, getattr(self, f.name)) for f in dataclasses.fields(self)]
        return "\n".join(f"{key:13} {value}" for key, value in rows if value not in (None, ()))


def list(pattern: str = "*", *, task: Task | None = None, min_ap: float | None = None) -> builtins.list[str]:
    """Sorted names of recipes.

    Args:
        pattern: shell pattern of the name (``"retinanet*"``).
        task: those that give boxes ("detection"), masks of objects ("instance"), a map of the whole image
            ("panoptic") or regions without classes ("proposal").
        min_ap: those whose published figure of the task (by default "detection") is so high, in percent: AP
            of boxes or of masks, PQ, or AR at 1000 proposals.

    Raises:
        ValueError: another task.

    Example:
        >>> kdet.zoo.list(task="panoptic", min_ap=50)
        >>> kdet.zoo.list("rtmdet*", min_ap=50)
    """
    if task not in (None, *FIGURES):
        raise ValueError(f"task is one of {', '.join(FIGURES)}; got {short(task)}.")
    names = sorted(name for name in recipes() if fnmatch.fnmatch(name, pattern))
    if min_ap is not None:
        figure = FIGURES[task or "detection"]
        names = [name for name in names if published.metadata(name).get(figure, -1.0) >= min_ap]
    return [name for name in names if task is None or task in _tasks(name)]


def _tasks(name: str) -> set[str]:
    """What a model is for, by its published figures or, where it has none, by its parts."""
    figures = published.metadata(name)
    found = {task for task, figure in FIGURES.items() if figure in figures}
    if not found:
        parts = repr(Config.load(name, check=False).section("model"))
        found = {"detection"} | ({"instance"} if "mask_head" in parts else set())
        found |= {"panoptic"} if "panoptic_fusion" in parts else set()
    return found


def info(name: PathLike) -> ModelInfo:
    """:class:`ModelInfo` of a recipe by name or alias; unknown names raise with the nearest ones."""
    config = Config.load(name, check=False)
    known = {field.name for field in dataclasses.fields(ModelInfo)}
    figures = {key: value for key, value in config.get("metadata", {}).items() if key in known}
    model = config.section("model")
    backbone = model.get("backbone", {})
    path = config.path or pathlib.Path()
    figures.setdefault("family", pathlib.PurePath(path).parent.name)
    figures["aliases"] = tuple(figures.get("aliases", ()))
    return ModelInfo(
        name=config.name,
        config=path,
        detector=str(model.get("type")),
        backbone=" ".join(str(backbone[key]) for key in ("type", "depth") if key in backbone),
        num_classes=label_count(model),
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
        name: name or alias of a recipe, path of a YAML file, the work directory of a training run, or a
            preset: its folder (``Detector.save_to_preset``) or its address (``"hf://user/model"``, see
            ``kdet.hubs``). Each may be behind a URL (``kdet.storage``), and so may weights.
        weights: ``"published"`` the detector as published (fetched once, checked, cached), of a preset or run
            its own; ``"imagenet"`` the backbone that training starts from; a path of a ``.pth``,
            ``.safetensors``, ``.weights.h5`` or ``.keras`` file; ``None`` random weights.
        num_classes: classes of the new model. Published weights that fit another number of classes fill
            everything but the layers whose shape differs; those are reported in the log and start fresh.
        dtype: Keras dtype policy, ``None`` for the current global one. ``"mixed_bfloat16"`` is float32 on
            processors that are slower in it (``kdet.precision``).
        **overrides: dotted changes of the recipe: ``**{"model.backbone.frozen_stages": -1}``.

    Returns:
        The detector, a ``keras.Model``.

    Raises:
        kdet.errors.ConfigError: unknown name or override. Other errors come from ``kdet.convert`` and say
            what to do when weights are missing, cannot be fetched, or do not fit.
    """
    name, weights = presets.resolve(name, weights)
    config = Config.load(name, overrides)
    check_weights(weights)
    if num_classes is not None:
        set_num_classes(config, num_classes)
    with dtype_policy(quick_policy(dtype)):
        model = config.build("model")
    fill(model, config, weights, partial=num_classes is not None)
    return model


def fetch(pattern: str = "*", weights: str = "published") -> dict[str, pathlib.Path]:
    """Downloads weights into the cache, for a machine that will have no network.

    What is there already is checked and stays. The folder ``checkpoints`` of the cache (``KDET_HOME``) can
    also serve others as their ``KDET_MIRROR``.

    Args:
        pattern: shell pattern of names of recipes (``"mask_rcnn*"``).
        weights: ``"published"`` those of the detectors, ``"imagenet"`` those that training starts from.

    Returns:
        ``{name: file}`` of the recipes that have such weights.

    Raises:
        kdet.errors.KdetError: no recipe matches, or none that does has such weights.
        kdet.convert.FetchError: files that could not be fetched, each with its reason; the others are there.
    """
    from tqdm import tqdm  # import time is precious

    addresses = _addresses(pattern, weights)
    files, failed = {}, []
    for address in tqdm(sorted({*addresses.values()}), unit=" files", disable=None, leave=False):
        try:
            files[address] = convert.fetch(address)
        except convert.FetchError as error:
            failed.append(str(error))
    if failed:
        raise convert.FetchError("\n".join(failed))
    return {name: files[address] for name, address in addresses.items()}


def _addresses(pattern: str, weights: str) -> dict[str, str]:
    """Addresses of the weights of the recipes that match, by name."""
    if weights not in ("published", "imagenet"):
        raise KdetError(f"weights is 'published' or 'imagenet', not {weights!r}.")
    names = list(pattern)
    if not names:
        raise KdetError(f"No recipe matches {pattern!r}; `kdet zoo list` shows all.")
    known = {name: info(name) for name in names}
    if weights == "published":
        found = {name: about.checkpoint for name, about in known.items() if about.checkpoint}
    else:
        found = {name: pretrained.resolve(about.imagenet) for name, about in known.items() if about.imagenet}
    if not found:
        raise KdetError(f"No recipe that matches {pattern!r} has {weights} weights.")
    return found


def upload(folder: PathLike, address: str, message: str = "A detector of kdet", private: bool = False) -> str:
    """Shares a preset on a hub.

    Args:
        folder: the preset, written by ``Detector.save_to_preset``.
        address: ``"hf://user/model"`` or ``"kaggle://user/model/keras/variation"``.
        message: what the hub's history says.
        private: a model that is made by this is not public.

    Returns:
        The address, which :func:`load` takes.

    Raises:
        kdet.presets.PresetError: ``folder`` is no preset.
        kdet.hubs.HubError: the hub refuses, cannot be reached, or its library is missing.
    """
    return hubs.upload(presets.find(folder), address, message, private)


def check_weights(weights: PathLike | None) -> None:
    """Raise for a file that certainly holds no weights, before a model is built for them.

    Args:
        weights: as in :func:`fill`.
    """
    if not isinstance(weights, (str, os.PathLike, type(None))):
        raise CheckpointError(f"weights are named by a word or a file; got {short(weights)}.")
    if weights is None or weights in ("imagenet", "published") or convert.is_address(weights):
        return
    if storage.is_url(weights):
        storage.local(str(weights), CheckpointError)
        return
    if published.canonical_name(str(weights)) not in recipes():
        convert.check_file(weights)


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
    if storage.is_url(weights) and not convert.is_address(weights):
        weights = storage.local(str(weights), CheckpointError)
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
    if not isinstance(num_classes, int) or isinstance(num_classes, bool) or num_classes < 1:
        raise ValueError(f"num_classes must be a whole number from 1 on; got {short(num_classes)}.")
    if class_count(config.section("model")) is None:
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
