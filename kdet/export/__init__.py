"""A detector out of Python: SavedModel for TensorFlow Serving, TFLite for small devices."""

from kdet.export.program import ExportError, Program

__all__ = ["FORMATS", "ExportError", "Program", "export_detector"]

# the spellings of Keras' own ``export`` too
FORMATS = {
    "saved_model": "saved_model",
    "tf_saved_model": "saved_model",
    "tflite": "tflite",
    "litert": "tflite",
}


def export_detector(model, path, format="saved_model", **options):
    """Writes ``model`` to ``path``; ``Detector.export`` is this function.

    Args:
        model: detector.
        path: folder of the SavedModel, or the ``.tflite`` file.
        format: a key of `FORMATS`.
        **options: of ``kdet.export.saved_model.export_saved_model`` or ``kdet.export.tflite.export_tflite``.

    Raises:
        ValueError: an unknown format or option value.
        ExportError: a part of the model cannot be exported; the message says which and the way out.
    """
    if format not in FORMATS:
        raise ValueError(f"format is one of {', '.join(FORMATS)}, not {format!r}.")
    if FORMATS[format] == "tflite":
        from kdet.export.tflite import export_tflite

        return export_tflite(model, path, **options)
    from kdet.export.saved_model import export_saved_model

    return export_saved_model(model, path, **options)
