"""``export`` of all detectors."""

from typing import Any

import keras

from kdet import storage
from kdet.typing import PathLike


class Exporting(keras.Model):
    """Mixin: Keras' ``export`` for detectors, whose inputs and outputs Keras cannot know."""

    def export(
        self, filepath: PathLike, format: str = "saved_model", verbose: bool | None = None, **options: Any
    ) -> PathLike:
        """Writes the detector for use without kdet: images in, detections out.

        Args:
            filepath: the folder (of "saved_model" and "openvino") or the file (the others) to write; may be a
                URL (``kdet.storage``).
            format: "saved_model" (also "tf_saved_model"), "tflite" (also "litert"), "onnx", "openvino" or a
                registered one.
            verbose: True prints what was written.
            **options: see ``export_saved_model``, ``export_tflite``, ``export_onnx`` and
                ``export_openvino`` in ``kdet.export``'s modules of these names.

        Returns:
            The path that was written.
        """
        from kdet import export  # above this room, and not needed to train or predict

        written = filepath
        if storage.is_url(filepath):
            with storage.sent(str(filepath)) as part:
                export.export_detector(self, part, format, **options)
        else:
            written = export.export_detector(self, filepath, format, **options)
        if verbose:
            print(f"{self.name}: {written}")
        return written
