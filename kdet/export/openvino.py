"""OpenVINO: the ONNX model of a detector as OpenVINO's own two files."""

import logging
import os
from typing import Any

from kdet.detectors import Detector
from kdet.export import nodes, onnx
from kdet.export.formats import register_format
from kdet.export.options import InputSize
from kdet.export.packages import needed
from kdet.export.program import ExportError
from kdet.typing import Array, PathLike
from kdet.writing import whole

logger = logging.getLogger("kdet")

# what OpenVINO reads; the weights lie beside it under the same name
FILE = "model.xml"


@register_format("openvino", folder=True, title="OpenVINO model")
def export_openvino(
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
    """Writes a detector for OpenVINO: ``model.xml`` and ``model.bin`` in a folder.

    Inputs and outputs are those of `kdet.export.onnx.export_onnx`, which the model is made by; it needs the
    package ``onnx`` too.

    Args:
        model: detector.
        path: the folder.
        input_size, batch, dtype, representative, num_proposals: as in ``export_onnx``. With ``fp16`` weights
            are kept in 16 bits.
        check: run the model in OpenVINO (on the CPU, in float32) and compare it with the detector before it
            is written.

    Returns:
        ``path``.

    Raises:
        ValueError: a bad option.
        ImportError: the package ``openvino`` or ``onnx`` is missing.
        ExportError: the model cannot be converted, or OpenVINO would not compute what it does.
    """
    runtime = needed("openvino", "openvino")
    made = convert(model, input_size, batch, dtype, num_proposals)
    if check:
        logger.info("%s: %s.", path, made.checked(Runner, representative, "OpenVINO"))
    read = _read(runtime, made.proto)
    with whole(path) as part:
        runtime.save_model(read, os.path.join(part, FILE), compress_to_fp16=dtype == "fp16")
    return path


def convert(
    model: Detector, input_size: InputSize | None, batch: int | str | None, dtype: str, num_proposals: int
) -> onnx.Converted:
    """The ONNX model that OpenVINO reads, of ops that it knows; the arguments are `export_openvino`'s."""
    kernels = {"deform_conv2d": nodes.sampled_deform_conv2d}  # it has no DeformConv
    return onnx.convert(model, input_size, batch, dtype, num_proposals, "openvino", kernels=kernels)


class Runner:
    """A model in OpenVINO on the CPU: images (and proposals) -> Detections in NumPy.

    Args:
        model: ``onnx.ModelProto``, or the path of an exported folder.
    """

    def __init__(self, model: Any) -> None:
        runtime = needed("openvino", "openvino")
        if isinstance(model, (str, os.PathLike)):
            read = runtime.Core().read_model(os.path.join(model, FILE))
        else:
            read = _read(runtime, model)
        # compiling gives outputs further names, those of operations that it joins with them
        self.names = [output.get_any_name() for output in read.outputs]
        # processors with bfloat16 would compute in that
        options = {"INFERENCE_PRECISION_HINT": "f32"}
        try:
            self.compiled = runtime.Core().compile_model(read, "CPU", options)
        except RuntimeError as error:
            raise _refused(runtime, error) from error

    def __call__(self, images: Array, **proposals: Array) -> dict[str, Array]:
        found = self.compiled({"images": images, **proposals})
        return {name: found[output] for name, output in zip(self.names, self.compiled.outputs)}


def _read(runtime: Any, proto: Any) -> Any:
    """OpenVINO's model of an ``onnx.ModelProto``."""
    try:
        read = runtime.Core().read_model(proto.SerializeToString())
    except RuntimeError as error:
        raise _refused(runtime, error) from error
    for output, said in zip(read.outputs, proto.graph.output):  # constants lose their names
        output.get_tensor().set_names({said.name})
    return read


def _refused(runtime: Any, error: Exception) -> ExportError:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return ExportError(
        f"OpenVINO {runtime.__version__.partition('-')[0]} cannot take the model: {lines[-1]} The way out: "
        "format='onnx', for ONNX Runtime."
    )
