"""SavedModel: a detector for TensorFlow Serving and for every program that has TensorFlow alone."""

import json
import os
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from kdet.coordinates import network_boxes
from kdet.detectors import Detector
from kdet.export.canvas import Canvas
from kdet.export.decode import decode
from kdet.export.formats import register_format
from kdet.export.image_masks import on_images
from kdet.export.naming import Naming
from kdet.export.options import InputSize, batch_of, shape_of
from kdet.export.precision import dtype_of, in_precision
from kdet.export.program import Program, save
from kdet.typing import PathLike, Tensor
from kdet.writing import whole

MASKS = ("box", "image")
# beside the model, for people and clients; servers ignore this folder
DESCRIPTION = os.path.join("assets.extra", "kdet.json")


@register_format("saved_model", "tf_saved_model", folder=True, title="SavedModel")
def export_saved_model(
    model: Detector,
    path: PathLike,
    *,
    input_size: InputSize = "dynamic",
    batch: int | str | None = None,
    dtype: str | None = None,
    ops: str = "portable",
    box_format: str = "rel_yxyx",
    label_offset: int = 1,
    masks: str = "box",
) -> PathLike:
    """Writes a SavedModel with pre- and post-processing inside.

    Signatures: ``serving_default`` (``images``: uint8 ``[N,H,W,3]`` RGB, images of one size, any),
    ``serving_bytes`` (``encoded``: strings ``[N]``, JPEG, PNG, BMP or GIF of any sizes) and
    ``serving_tf_example`` (``examples``: serialized ``tf.train.Example`` with ``image/encoded``). Each
    resizes its images by the model's own rule and gives boxes in the original image, as ``predict``
    does. The outputs are those of `Naming`.

    A model that makes no proposals (Fast R-CNN) takes ``proposals`` beside the images in each signature:
    float32 ``[N,P,4]``, written as its boxes are (``box_format``); rows of zeros are padding. What an
    exported RPN calls ``detection_boxes`` can be passed on as it is.

    Args:
        model: detector.
        path: folder to write; for TensorFlow Serving it ends in a version number (``.../my_model/1``).
        input_size: "dynamic" (the images' own canvas, as in ``predict``), "buckets" (the few of
            ``predict(..., canvas="buckets")``) or (height, width) of one canvas, see `Canvas`.
        batch: images per call; None or "dynamic" for any number.
        dtype: None as the model computes, or "fp32", "bf16", "fp16". Outputs stay float32.
        ops: "portable": TensorFlow's own ops only; "compiled": kdet's too, for programs that load its
            library.
        box_format, label_offset: see `Naming`.
        masks: "box": probabilities in the frame of each box (of prototype models in that of the whole
            image); "image": uint8 ``[N,M,H,W]`` of 0 and 1 in the size of the largest image.

    Returns:
        ``path``.

    Raises:
        ValueError: a bad option. ExportError: a part of the model that cannot be exported. Unavailable:
            compiled ops without the library.
    """
    if masks not in MASKS:
        raise ValueError(f"masks is one of {', '.join(MASKS)}, not {masks!r}.")
    canvas, batch = Canvas(model.preprocessor, shape_of(input_size), model.smallest), batch_of(batch)
    naming = Naming(box_format, label_offset)
    program = Program(in_precision(model, dtype), ops)
    functions = _Functions(program, canvas, naming, batch, masks == "image")
    path = os.fspath(path)
    servable = tf.Module(name=model.name)
    signatures = functions.signatures()
    servable.held = list({id(v): v for traced in signatures.values() for v in traced.variables}.values())
    described = {"ops": ops, "masks": masks, "batch": batch, "dtype": dtype_of(program.model)}
    with whole(path) as part:  # TensorFlow Serving never sees half of a version
        save(servable, part, signatures)
        _describe(part, model, canvas, naming, described)
    return path


class _Functions:
    """The signatures: three ways to images, one trace of the detector that all share."""

    def __init__(
        self, program: Program, canvas: Canvas, naming: Naming, batch: int | None, whole_masks: bool
    ) -> None:
        self.program, self.canvas, self.naming = program, canvas, naming
        self.batch, self.whole_masks = batch, whole_masks
        sizes = tf.TensorSpec([batch, 2], tf.float32)
        spec = {"images": tf.TensorSpec([batch, *canvas.static_shape, 3], tf.uint8)}
        spec.update({key: sizes for key in ("valid_size", "original_size", "scale")})
        self.proposals = []
        if program.takes_proposals:
            boxes = tf.TensorSpec([batch, None, 4], tf.float32, name="proposals")
            self.proposals, spec["proposals"] = [boxes], boxes
        self._detect = tf.function(self._outputs, input_signature=[spec], autograph=False)

    def _outputs(self, inputs: Any) -> dict[str, Tensor]:
        detections = self.program.detect(inputs)
        if self.whole_masks and "masks" in detections:
            masks = on_images(self.program.model, detections, inputs["original_size"])
            detections["masks"] = masks
        return self.naming(detections, inputs["original_size"])

    def _detect_images(
        self, read: Callable[[Tensor], Tensor], count: Tensor, proposals: Tensor | None = None
    ) -> dict[str, Tensor]:
        inputs: Any = self.canvas.inputs(read, count)
        if proposals is not None:
            boxes = self.naming.read_boxes(proposals, inputs["original_size"])
            inputs["proposals"] = network_boxes(boxes, inputs)
        if self.batch is not None:
            inputs = {k: tf.ensure_shape(v, [self.batch, *v.shape[1:]]) for k, v in inputs.items()}
        return self._detect(inputs)

    def on_arrays(self, images: Tensor, proposals: Tensor | None = None) -> dict[str, Tensor]:
        return self._detect_images(lambda i: images[i], tf.shape(images)[0], proposals)

    def on_bytes(self, encoded: Tensor, proposals: Tensor | None = None) -> dict[str, Tensor]:
        return self._detect_images(lambda i: decode(encoded[i]), tf.size(encoded), proposals)

    def on_examples(self, examples: Tensor, proposals: Tensor | None = None) -> dict[str, Tensor]:
        features = {"image/encoded": tf.io.FixedLenFeature([], tf.string)}
        return self.on_bytes(tf.io.parse_example(examples, features)["image/encoded"], proposals)

    def signatures(self) -> dict[str, Any]:
        """``{name: ConcreteFunction}``."""
        images = tf.TensorSpec([self.batch, None, None, 3], tf.uint8, name="images")
        encoded = tf.TensorSpec([self.batch], tf.string, name="encoded")
        examples = tf.TensorSpec([self.batch], tf.string, name="examples")
        signatures = {
            "serving_default": (self.on_arrays, images),
            "serving_bytes": (self.on_bytes, encoded),
            "serving_tf_example": (self.on_examples, examples),
        }
        return {
            name: self.program.trace(function, spec, *self.proposals, canvas=self.canvas.static_shape)
            for name, (function, spec) in signatures.items()
        }


def _describe(
    path: PathLike, model: Detector, canvas: Canvas, naming: Naming, options: dict[str, Any]
) -> None:
    description = {
        "model": model.name,
        "class_names": model.class_names,
        "box_format": naming.box_format,
        "label_offset": naming.label_offset,
        "canvases": canvas.shapes,
        **options,
    }
    file = os.path.join(path, DESCRIPTION)
    os.makedirs(os.path.dirname(file), exist_ok=True)
    with open(file, "w") as out:
        json.dump(description, out, indent=1)
