"""Detectors as TFLite flatbuffers: preprocessing, network and post-processing in one file."""

import itertools
import logging
import re
import tempfile
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from kdet import compat, data
from kdet.detectors import Detector
from kdet.detectors.preprocessor import Preprocessor
from kdet.export import compared, flatbuffer, litert, network_outputs, quantize
from kdet.export.formats import register_format
from kdet.export.options import InputSize, batch_of, shape_of
from kdet.export.precision import in_precision
from kdet.export.program import ExportError, Program, save
from kdet.typing import Array, Pair, PathLike
from kdet.writing import whole

logger = logging.getLogger("kdet")

# How far the file may lie from the model; boxes in pixels, or per cent of their longer side.
# Eight bits move scores across thresholds, so only a file that finds something else altogether is refused.
BOUNDS = {
    "fp32": compared.Bound(box=1e-3, score=1e-3, mask=1e-3, lost=0.05, network=1e-3),
    "fp16": compared.Bound(box=2.0, score=0.05, mask=0.05, lost=0.2, spare=1, network=0.02),
    "dynamic": compared.Bound(box=30.0, score=0.5, mask=0.5, lost=0.7, spare=5, network=0.5),
    "int8": compared.Bound(box=30.0, score=0.5, mask=0.5, lost=0.7, spare=5, network=0.5),
}
CALIBRATION_IMAGES = 100
_CHECKED_IMAGES = 2


@register_format("tflite", "litert", title=".tflite")
def export_tflite(
    model: Detector,
    path: PathLike,
    input_size: InputSize | None = None,
    batch: int = 1,
    dtype: str = "fp32",
    representative: Any = None,
    num_proposals: int = 1000,
    select_tf_ops: bool = True,
    check: bool = True,
) -> PathLike:
    """Writes a detector as a TFLite file.

    The file takes ``images`` uint8 ``[batch,h,w,3]`` RGB, images resized to fill ``(h, w)``, and gives
    Detections in pixels of that canvas under their names: ``boxes`` (xyxy), ``scores``, ``labels`` (-1:
    padding), ``num_detections``, ``masks``. Its signature is ``serving_default``. A model that makes no
    proposals (Fast R-CNN) takes ``proposals`` too: float32 ``[batch,num_proposals,4]``, xyxy in pixels of the
    canvas; rows of zeros are padding.

    Args:
        model: detector.
        path: the ``.tflite`` file.
        input_size: (h, w), also as "480x640"; default: the size that the model was made for, the long side
            being the width.
        batch: images per call, fixed in the file.
        dtype: ``fp32``; ``fp16``: weights in 16 bits; ``dynamic``: weights in 8 bits; ``int8``: the network
            computes in 8 bits. Decoding and suppression are always float32.
        representative: for ``int8`` (and for the check): images like those to come, as paths, encoded bytes
            or RGB arrays; or a recipe (``kdet.config.Config`` or dict), whose ``data.train`` or ``data.val``
            is read. The first 100 are used.
        num_proposals: per image, fixed in the file, for a model that takes them.
        select_tf_ops: where TFLite's own ops do not suffice take TensorFlow's, which need its Flex delegate;
            False refuses.
        check: run the file and compare it with the model before it is written, by what both find or, where
            that is nothing, by what their networks give to the decoding. Files that need the Flex
            delegate cannot be: the packages of TensorFlow (since 2.20) and LiteRT come without it.

    Returns:
        ``path``.

    Raises:
        ValueError: an unknown ``dtype``; a dynamic size or batch; ``int8`` without images.
        ExportError: the model cannot be converted, or the file would not compute what the model does.
    """
    height, width, batch = _fixed(model, input_size, batch, dtype)
    images = representative_batches(representative, height, width, batch)
    if dtype == "int8" and images is None:
        raise ValueError(
            "TFLite: int8 needs images to measure the network's values: representative=[paths or arrays], "
            "or a recipe with data.train or data.val. Without any take dtype='dynamic'."
        )
    model = in_precision(model, "fp32")
    canvas = (height, width, batch, num_proposals)
    traced = Program(model).on_canvas(*canvas)
    single, select = convert(traced, model.name, select_tf_ops)
    content = with_dtype(single, dtype, images)
    if select:
        logger.warning(
            "%s: TFLite has no %s. The file needs a runtime with the Flex delegate; no Python package has "
            "it, so the file was not run and compared.", path, ", ".join(select),
        )  # fmt: skip
    elif check:
        looked_at = (images or [compared.noise_images(model, height, width, batch)])[:_CHECKED_IMAGES]
        boxes = {"proposals": compared.some_boxes(*canvas)} if model.takes_proposals else {}
        found = litert.check(model.name, content, traced, looked_at, BOUNDS[dtype], **boxes)
        result = str(found)
        if not found.found:
            limit = BOUNDS[dtype].network
            apart = network_outputs.check(model.name, single, content, traced, limit, looked_at[0], **boxes)
            result = f"nothing found, the network's outputs differ by {apart:.2g} of their size"
        logger.info("%s: %s.", path, result)
    with whole(path) as part:
        part.write_bytes(content)
    return path


def _fixed(model: Detector, input_size: InputSize | None, batch: int, dtype: str) -> tuple[int, int, int]:
    """(height, width, batch) of a file.

    Raises:
        ValueError: naming the option, what was given and what it can be.
    """
    if dtype not in BOUNDS:
        way_out = " Weights of 16 bits are fp16; a SavedModel computes in bf16." if dtype == "bf16" else ""
        raise ValueError(f"TFLite: dtype is one of {', '.join(BOUNDS)}, not {dtype!r}.{way_out}")
    shape = canvas_of(model.preprocessor) if input_size is None else shape_of(input_size)
    count = batch_of(batch)
    if shape is None or isinstance(shape, str):
        raise ValueError(
            f"TFLite: the canvas is fixed in the file: input_size is (height, width), not {input_size!r}."
        )
    if count is None:
        raise ValueError(f"TFLite: the batch is fixed in the file: a number of images, not {batch!r}.")
    height, width = shape
    return height, width, count


def canvas_of(preprocessor: Preprocessor) -> Pair:
    """(h, w) of a landscape image under the model's size rule, padded to its divisor."""
    if isinstance(preprocessor.size, (int, float)):
        raise ValueError(
            "The model takes images in their own size: give the export an input_size (height, width)."
        )
    first, second = preprocessor.size
    width, height = (max(first, second), min(first, second)) if preprocessor.keep_ratio else (first, second)
    divisor = preprocessor.pad_divisor
    return -(-height // divisor) * divisor, -(-width // divisor) * divisor


def representative_batches(given: Any, height: int, width: int, batch: int) -> list[Array] | None:
    """List of uint8 ``[batch,height,width,3]`` from images or a recipe; None from None."""
    if given is None:
        return None
    fill = {"mode": "fixed", "sizes": [[width, height]]}
    if isinstance(given, dict):
        split = next((name for name in ("train", "val") if (given.get("data") or {}).get(name)), "train")
        spec = {**data.section(given, split), "divisor": 1, "buckets": None}
        spec["transforms"] = [{"type": "Resize", **fill}]
        spec["limit"] = min(spec.get("limit") or CALIBRATION_IMAGES, CALIBRATION_IMAGES)
        try:
            images = [x["images"].numpy()[0] for x, _ in data.load(spec).dataset()]
        except FileNotFoundError as error:
            raise FileNotFoundError(
                f"{error} int8 measures the network on data.{split}. The way out: data that are there, in "
                f"tools --set data.{split}.annotations=FILE data.{split}.images=FOLDER; or dtype='dynamic', "
                "in tools --dtype dynamic, which needs none."
            ) from error
    else:
        chosen = itertools.islice(given, CALIBRATION_IMAGES)
        images = [data.preprocess_images([one], fill)["images"].numpy()[0] for one in chosen]
    if not images:
        raise ValueError("TFLite: representative holds no image.")
    images += images[-1:] * (-len(images) % batch)
    return [np.stack(images[i : i + batch]) for i in range(0, len(images), batch)]


def convert(traced: Any, name: str, select_tf_ops: bool = True) -> tuple[bytes, list[str]]:
    """Float32 flatbuffer of a ``ConcreteFunction`` of ``images``.

    Returns:
        ``(bytes, names of the TensorFlow ops in it)``.

    Raises:
        ExportError: naming the ops that stand in the way.
    """
    module, missing = tf.Module(), ""
    module.state = list(traced.variables)
    with tempfile.TemporaryDirectory() as folder:
        # By way of a SavedModel, which holds the variables: `from_concrete_functions` leaves them out,
        # reports success, and the file computes NaN.
        save(module, folder, traced)
        for ops in [["TFLITE_BUILTINS"], ["TFLITE_BUILTINS", "SELECT_TF_OPS"]][: 1 + select_tf_ops]:
            try:
                content = _converted(folder, [tf.lite.OpsSet[op] for op in ops])
            except Exception as error:  # the converter has no error class of its own for this
                missing = _missing_ops(error)
                continue
            return content, flatbuffer.select_ops(flatbuffer.read(content))
    if select_tf_ops:
        missing, way_out = f"{missing}, nor can its Flex delegate help", "a SavedModel"
    else:
        way_out = "select_tf_ops=True, and a runtime with the Flex delegate"
    raise ExportError(f"{name}: TFLite has no {missing}. The way out: {way_out}.")


def _converted(folder: str, ops: Sequence[Any]) -> bytes:
    """Flatbuffer of a SavedModel's one signature, what ``tf.lite.TFLiteConverter`` makes of it.

    That loads the SavedModel twice and rewrites the file twice in Python before and after the same call,
    which takes as long again as the conversion.
    """
    return compat.tflite().convert.convert_saved_model(
        saved_model_dir=folder,
        saved_model_version=1,  # by the signature alone
        saved_model_tags={"serve"},
        saved_model_exported_names=["serving_default"],
        target_ops=ops,
        enable_tflite_resource_variables=True,
        # Loops that share a body, such as the pooling of several stages, are not converted otherwise.
        guarantee_all_funcs_one_use=True,
        # The zeros that a loop starts from are made at run time, not stored: 51 MB in a Faster R-CNN.
        unfold_large_splat_constant=True,
    )


def _missing_ops(error: BaseException) -> str:
    """Ops that a converter complains about, with their place in the detector, or its first line."""
    ops = dict.fromkeys(re.findall(r"\btf\.([A-Z]\w+)", str(error)), "")
    for one in getattr(error, "errors", ()):  # a converter's error has them
        if one.location.call:
            ops[one.operator.name.removeprefix("tf.")] = one.location.call[0].name.partition("@")[0]
    named = (f"{op} ({place})" if "/" in place else op for op, place in sorted(ops.items()))
    return ", ".join(named) or str(error).strip().splitlines()[0]


def with_dtype(content: bytes, dtype: str, images: Iterable[Array] | None = None) -> bytes:
    """A float32 flatbuffer rewritten for ``dtype``; ``int8`` measures on ``images``."""
    if dtype == "int8":
        return quantize.to_int8(content, images or ())
    return {"fp32": lambda c: c, "fp16": quantize.to_float16, "dynamic": quantize.to_dynamic}[dtype](content)
