"""ONNX: a detector with pre-processing, network and post-processing in one file of standard ops."""

import dataclasses
import json
import logging
import pathlib
from collections.abc import Callable, Sequence
from typing import Any

import kdet
from kdet.detectors import Detector
from kdet.export import compared, nodes
from kdet.export.compared import Bound
from kdet.export.formats import register_format
from kdet.export.onnx_network import compare_networks
from kdet.export.options import InputSize, batch_of, shape_of
from kdet.export.packages import needed
from kdet.export.precision import in_precision
from kdet.export.program import ExportError, Program
from kdet.export.tflite import canvas_of, representative_batches
from kdet.typing import Array, Pair, PathLike
from kdet.writing import whole

logger = logging.getLogger("kdet")

# How far a file may lie from the model; boxes in pixels, or per cent of their longer side.
BOUNDS = {
    "fp32": Bound(box=0.01, score=1e-3, mask=1e-3, lost=0.05, network=1e-3),
    "fp16": Bound(box=2.0, score=0.05, mask=0.05, lost=0.2, spare=1, network=0.02),
}
_CHECKED_IMAGES = 2
# sides and images of a file that leaves them open, for the check
_OPEN_BATCH = 2


@register_format("onnx", title=".onnx")
def export_onnx(
    model: Detector,
    path: PathLike,
    *,
    input_size: InputSize | None = None,
    batch: int | str | None = 1,
    dtype: str = "fp32",
    representative: Any = None,
    num_proposals: int = 1000,
    check: bool = True,
) -> PathLike:
    """Writes a detector as an ONNX file of opset 19, of standard ops alone.

    The file takes ``images`` uint8 ``[batch,h,w,3]`` RGB, images resized to fill ``(h, w)``, and gives
    Detections in pixels of that canvas under their names: ``boxes`` (xyxy), ``scores``, ``labels`` (-1:
    padding), ``num_detections``, ``masks``. A model that makes no proposals (Fast R-CNN) takes ``proposals``
    too: float32 ``[batch,num_proposals,4]``, xyxy in pixels of the canvas; rows of zeros are padding.

    Suppression is ``NonMaxSuppression`` and ``TopK``, regions are ``RoiAlign``, deformable convolution is
    ``DeformConv``, attention at points is ``GridSample``.

    Args:
        model: detector.
        path: the ``.onnx`` file.
        input_size: (h, w), also as "480x640"; "dynamic" leaves it open, for images padded to multiples of
            what the model pads to; default: the size that the model was made for, the long side being the
            width.
        batch: images per call, fixed in the file; None or "dynamic" leaves it open.
        dtype: ``fp32``; ``fp16``: weights in 16 bits. The file computes in float32 in both.
        representative: images like those to come, for the check, as paths, encoded bytes or RGB arrays; or
            a recipe (``kdet.config.Config`` or dict), whose ``data.train`` or ``data.val`` is read.
        num_proposals: per image, fixed in the file, for a model that takes them.
        check: run the file in ONNX Runtime and compare it with the model before it is written, by what both
            find or, where that is nothing, by what their networks compute.

    Returns:
        ``path``.

    Raises:
        ValueError: an unknown ``dtype`` or another bad option.
        ImportError: the package ``onnx``, or for the check ``onnxruntime``, is missing.
        ExportError: the model cannot be converted, or the file would not compute what the model does.
    """
    made = convert(model, input_size, batch, dtype, num_proposals, "onnx")
    content = made.proto.SerializeToString()
    if check:
        logger.info("%s: %s.", path, made.checked(Runner, representative, "ONNX"))
    with whole(path) as part:
        pathlib.Path(part).write_bytes(content)
    return path


@dataclasses.dataclass(frozen=True)
class Converted:
    """A detector as an ONNX model.

    Attributes:
        model: the detector, in float32.
        proto: the ``onnx.ModelProto``.
        traced: the ``ConcreteFunction`` that it was made of.
        size: (h, w) of the canvas, or one for the check where the file leaves it open.
        batch: images per call, or how many the check takes.
        num_proposals: see `export_onnx`.
        bound: how far the file may be off.
        probes: names of the network's outputs in the model, and in the trace.
    """

    model: Detector
    proto: Any
    traced: Any
    size: Pair
    batch: int
    num_proposals: int
    bound: Bound
    probes: dict[str, Any]

    def checked(
        self, runner: Callable[[Any], Callable[..., dict[str, Array]]], representative: Any, title: str
    ) -> str:
        """Runs the model and compares it with its detector.

        Args:
            runner: makes a function of images of an ``onnx.ModelProto``.
            representative: see `export_onnx`.
            title: of the format.

        Returns:
            A sentence on the differences.

        Raises:
            ExportError: the two differ.
        """
        canvas = (*self.size, self.batch)
        images = representative_batches(representative, *canvas)
        looked_at = (images or [compared.noise_images(self.model, *canvas)])[:_CHECKED_IMAGES]
        boxes: dict[str, Array] = {}
        if self.model.takes_proposals:
            boxes = {"proposals": compared.some_boxes(*canvas, self.num_proposals)}
        name = f"{self.model.name}: the exported {title} model"
        found = compared.compare(name, runner(self.proto), self.traced, looked_at, self.bound, **boxes)
        if found.found:
            return str(found)
        apart = compare_networks(
            name, self.proto, self.traced, self.probes, runner, self.bound.network, looked_at[0], **boxes
        )
        return f"nothing found, the network's outputs differ by {apart:.2g} of their size"


def convert(
    model: Detector,
    input_size: InputSize | None,
    batch: int | str | None,
    dtype: str,
    num_proposals: int,
    extra: str,
    **converting: Any,
) -> Converted:
    """A detector as an ONNX model, not checked yet; the arguments are those of `export_onnx`.

    Args:
        extra: of kdet, that a missing package is in.
        **converting: arguments of `nodes.Converter`.
    """
    if dtype not in BOUNDS:
        raise ValueError(f"{extra}: dtype is one of {', '.join(BOUNDS)}, not {dtype!r}.")
    shape = canvas_of(model.preprocessor) if input_size is None else shape_of(input_size)
    if isinstance(shape, str):
        raise ValueError(f"{extra}: input_size is (height, width) or 'dynamic', not {input_size!r}.")
    count = batch_of(batch)
    needed("onnx", extra)
    model = in_precision(model, "fp32")
    height, width = shape or (None, None)
    fixed = num_proposals if model.takes_proposals else None
    traced = Program(model, marked=True).on_canvas(height, width, count, fixed)
    names = ["images", "proposals"][: 1 + model.takes_proposals]
    converter = nodes.Converter(half=dtype == "fp16", **converting)
    try:
        proto = converter.model(traced, model.name, names, _properties(model))
    except nodes.Unsupported as reason:
        raise ExportError(
            f"{model.name}: ONNX cannot hold {reason}. The way out: "
            + ("a fixed size and batch, or " if None in (height, count) else "")
            + "a SavedModel."
        ) from reason
    return Converted(
        model,
        proto,
        traced,
        shape or _some_size(model),
        count or _OPEN_BATCH,
        num_proposals,
        BOUNDS[dtype],
        converter.probes,
    )


def _some_size(model: Detector) -> Pair:
    """A canvas that any model takes, for the check of a file that leaves it open."""
    divisor = model.preprocessor.pad_divisor
    step = divisor * -(-32 // divisor)  # some models take no others
    low = -(-max(model.smallest, 128) // step) * step
    return low, low + step


def _properties(model: Detector) -> dict[str, str]:
    """What the file says of itself."""
    said = {"kdet_version": kdet.__version__, "pad_divisor": str(model.preprocessor.pad_divisor)}
    if model.class_names:
        said["class_names"] = json.dumps(list(model.class_names), ensure_ascii=False)
    return said


class Runner:
    """An ONNX model in ONNX Runtime: images (and proposals) -> Detections in NumPy.

    Args:
        model: ``onnx.ModelProto``, or its bytes.
    """

    def __init__(self, model: Any) -> None:
        runtime = needed("onnxruntime", "onnx")
        content = model if isinstance(model, bytes) else model.SerializeToString()
        options = runtime.SessionOptions()
        options.log_severity_level = 3
        try:
            self.session = runtime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # the runtime's errors share no class
            raise ExportError(
                f"ONNX Runtime {runtime.__version__} cannot run the exported model: "
                f"{str(error).strip().splitlines()[0]} The way out: a newer ONNX Runtime; or check=False, "
                "for another runtime."
            ) from error
        self.names: Sequence[str] = [output.name for output in self.session.get_outputs()]

    def __call__(self, images: Array, **proposals: Array) -> dict[str, Array]:
        return dict(zip(self.names, self.session.run(None, {"images": images, **proposals})))
