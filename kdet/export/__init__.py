"""A detector out of Python: SavedModel, TFLite, ONNX, OpenVINO and your own formats."""

from typing import Any

from kdet.detectors import Detector
from kdet.export import target
from kdet.export.formats import check_options, find_format, format_names, register_format
from kdet.export.program import ExportError, Program
from kdet.typing import PathLike

__all__ = ["ExportError", "Program", "export_detector", "format_names", "register_format"]


def export_detector(model: Detector, path: PathLike, format: str = "saved_model", **options: Any) -> PathLike:
    """Writes ``model`` to ``path``; ``Detector.export`` is this function.

    Args:
        model: detector.
        path: the folder (``saved_model``, ``openvino``) or the file (``tflite``, ``onnx``) to write.
        format: one of `format_names`: ``saved_model`` (``tf_saved_model``), ``tflite`` (``litert``),
            ``onnx``, ``openvino``, or the name of a registered format.
        **options: of ``kdet.export.saved_model.export_saved_model``, ``kdet.export.tflite.export_tflite``,
            ``kdet.export.onnx.export_onnx`` or ``kdet.export.openvino.export_openvino``.

    Raises:
        ValueError: an unknown format or option value.
        TypeError: an option that the format does not have.
        OSError: ``path`` cannot be written.
        ImportError: the format needs a package that is not installed; the message says how to get it.
        ExportError: a part of the model cannot be exported; the message says which and the way out.
    """
    chosen = find_format(format)
    check_options(chosen, options)
    target.check(path, chosen)
    return chosen.export(model, path, **options)
