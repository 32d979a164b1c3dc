"""How a detector is written to Keras' files and read again: whole, or not at all."""

import logging
import math
import pathlib
from collections.abc import Mapping
from typing import Any

import keras

from kdet import compat, storage
from kdet.convert import keras_files
from kdet.errors import CheckpointError
from kdet.typing import PathLike
from kdet.writing import whole

logger = logging.getLogger("kdet")


class Saving(keras.Model):
    """Saving side of a detector: mixed into ``keras.Model`` in front of it.

    Whatever way leads to a file (``save``, ``save_weights``, ``keras.saving.save_model``, a callback),
    writing fails where Keras would leave a weight out, and reading fails where file and model do not cover
    each other.
    """

    def save(
        self, filepath: str | pathlib.Path, overwrite: bool = True, zipped: bool | None = None, **kwargs: Any
    ) -> None:
        """As in Keras, to a ``.keras`` file.

        Raises:
            ValueError: another ending.
            IncompleteWeights: the file would not hold every weight.
        """
        if storage.is_url(filepath):
            with storage.sent(str(filepath)) as part:
                self.save(part, zipped=zipped, **kwargs)
            return
        if zipped is not False and not str(filepath).endswith(".keras"):
            raise ValueError(
                f"{filepath}: a detector is saved as a .keras file (load it with keras.models.load_model); "
                "save_weights writes .weights.h5, export a SavedModel or TFLite."
            )
        super().save(filepath, overwrite=overwrite, zipped=zipped, **kwargs)
        if zipped is not False and pathlib.Path(filepath).is_file():
            keras_files.check_file(self, filepath)

    def save_weights(
        self,
        filepath: str | pathlib.Path,
        overwrite: bool = True,
        max_shard_size: float | None = None,
    ) -> None:
        """As in Keras; then compares what the file holds with what the model has.

        A ``.weights.h5`` appears whole or not at all, and what stood there stays until then.

        Raises:
            IncompleteWeights: the file does not hold every weight.
            WriteError: the disk is full or fails.
        """
        if storage.is_url(filepath):
            with storage.sent(str(filepath)) as part:
                self.save_weights(part, max_shard_size=max_shard_size)
            return
        path = pathlib.Path(filepath)
        asks = path.exists() and not overwrite  # Keras does, then
        if max_shard_size is None and path.name.endswith(".weights.h5") and not asks:
            with whole(path, self._file_size()) as part:
                super().save_weights(part)
                keras_files.check_file(self, part)
            return
        super().save_weights(filepath, overwrite=overwrite, max_shard_size=max_shard_size)
        if path.is_file():
            keras_files.check_file(self, path)

    def save_to_preset(
        self, preset_dir: str | pathlib.Path, metadata: Mapping[str, Any] | None = None
    ) -> PathLike:
        """Write the detector as a preset: a folder with recipe, weights, class names and a model card.

        ``kdet.zoo.load`` and ``from_preset`` load it, ``kdet.zoo.upload`` shares it.

        Args:
            preset_dir: the folder, or its URL (``kdet.storage``); a preset that stands there is replaced.
            metadata: more entries of its ``metadata.json``, such as ``{"license": "apache-2.0"}``.

        Returns:
            The folder.

        Raises:
            kdet.presets.PresetError: the weights are kept in half precision, a part of the model has no place
                in a recipe, or the folder holds something else.
            WriteError: the disk is full or fails.

        Example:
            >>> model.save_to_preset("cells")
            >>> kdet.zoo.load("cells").predict(["image.jpg"])
        """
        from kdet import presets

        return presets.save(self, preset_dir, metadata)

    def _file_size(self) -> int:
        """Most bytes that its weights and those of its optimizer take in a file."""
        variables = [*self.weights, *(self.optimizer.variables if self.compiled else ())]
        return sum(math.prod(v.shape) * 4 + 4096 for v in variables)

    def load_weights(self, filepath: str | pathlib.Path, skip_mismatch: bool = False, **kwargs: Any) -> None:
        """As in Keras, from a ``.weights.h5``, ``.weights.json`` or ``.keras`` file.

        Args:
            filepath: the file.
            skip_mismatch: load what fits by place and shape; what does not is reported as a warning and stays
                as it is.
            **kwargs: as in Keras.

        Raises:
            IncompleteWeights: file and model do not cover each other; the model is unchanged then.
        """
        if storage.is_url(filepath):
            filepath = storage.local(str(filepath), CheckpointError)
        if not pathlib.Path(filepath).is_file():
            raise FileNotFoundError(f"There is no weights file {filepath}.")
        if skip_mismatch and not str(filepath).endswith(".json"):
            if found := keras_files.fill_what_fits(self, filepath):
                logger.warning("%s fills a part of the model %r: %s.", filepath, self.name, found)
            return
        keras_files.check_file(self, filepath)
        super().load_weights(filepath, skip_mismatch=skip_mismatch, **kwargs)

    def save_own_variables(self, store: Any) -> None:
        """Called by Keras before anything else is written."""
        if not compat.is_recording(store):
            keras_files.expected_shapes(self)  # raises where Keras would leave a variable out
        super().save_own_variables(store)

    def load_own_variables(self, store: Any) -> None:
        """Called by Keras before anything else is read."""
        file = compat.open_file(store)
        if file is not None:
            keras_files.refuse(keras_files.difference(self, file), self, file.filename)
            store.h5_file = keras_files.in_layout_of_today(self, file)
        super().load_own_variables(store)
