"""``export`` of all detectors."""

from typing import Any

import keras

from kdet.typing import PathLike


class Exporting(keras.Model):
    """Mixin: Keras' ``export`` for detectors, whose inputs and outputs Keras cannot know."""

    def export(
        self, filepath: PathLike, format: str = "saved_model", verbose: bool | None = None, **options: Any
    ) -> PathLike:
        """Writes the detector for use without kdet: images in, detections out.

        Args:
            filepath: folder of the SavedModel, or the ``.tflite`` file.
            format: "saved_model" (also "tf_saved_model") or "tflite" (also "litert").
            verbose: True prints what was written.
            **options: see ``kdet.export.saved_model.export_saved_model`` and
                ``kdet.export.tflite.export_tflite``.

        Returns:
            The path that was written.
        """
        from kdet import export  # above this room, and not needed to train or predict

        written = export.export_detector(self, filepath, format, **options)
        if verbose:
            print(f"{self.name}: {written}")
        return written
