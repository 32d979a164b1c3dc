"""What all detectors share: the flow from images to detections and losses."""

from collections.abc import Generator, Sequence
from typing import Any, ClassVar

import keras
import numpy as np
import tensorflow as tf

from kdet import ops
from kdet.backbones import Backbone
from kdet.checks import plain_errors, require_count
from kdet.compat import BuiltModel, layers_of
from kdet.contract import Canvas, Detections, ImageInfo, Inputs, Targets, View
from kdet.detectors.exporting import Exporting
from kdet.detectors.given import is_network_input
from kdet.detectors.predict import Augmentation, paste, predict_images
from kdet.detectors.preprocessor import Preprocessor
from kdet.detectors.receptive_fields import ReceptiveFields
from kdet.detectors.replicas import ReplicaTraces
from kdet.detectors.saving import Saving
from kdet.detectors.stream import OnCorrupt, predict_each
from kdet.detectors.traces import Traces
from kdet.detectors.training import TrainingSteps
from kdet.heads.base import Losses
from kdet.inputs import as_inputs, check_finite
from kdet.layers import Layer, TorchNamed, dropping_paths, inference, quick_convolutions
from kdet.necks import Neck
from kdet.registry import Component, remember
from kdet.results import Result
from kdet.targets import as_targets, check_images
from kdet.typing import Maps


class Detector(TrainingSteps, Exporting, Saving, TorchNamed, BuiltModel):
    """A detector as a ``keras.Model``: images in, detections in original pixels out.

    A subclass calls ``super().__init__``, sets its heads and ends with ``self.create_variables()``; it
    defines ``detect`` and ``forward_losses`` on normalized images. Training: ``TrainingSteps``; export:
    ``Exporting``; files: ``Saving``.

    Args:
        backbone: images to maps.
        neck: maps to maps; None, or a list of necks, one after the other.
        preprocessor: normalization and resize rule.
        class_names: names of the classes, in the order of the labels, or None.
        receptive_fields: dilations that its convolutions get, see ``ReceptiveFields``.

    Attributes:
        build_size: least side of an image, in pixels, that its own flow can be built on.
        smallest: least side that the model can be run on, which its layers have a say in.
        teacher_name: recipe of the detector that it learns from, see ``DistilledDetector``; None for none.
        sampling_seed: seed of all random draws in training.

    Call: :class:`kdet.contract.Inputs` or an image tensor ``[B,H,W,3]`` (RGB, 0..255) ->
    :class:`kdet.contract.Detections`.
    """

    build_size: ClassVar[int] = 64
    teacher_name: str | None = None

    def __init__(
        self,
        backbone: Backbone,
        neck: Neck | list[Neck] | None = None,
        preprocessor: Preprocessor | None = None,
        class_names: Sequence[str] | None = None,
        receptive_fields: ReceptiveFields | None = None,
        **kwargs: Any,
    ) -> None:
        # inputs are pixels and sizes: they must not be cast to the compute dtype
        super().__init__(autocast=False, **kwargs)
        self.smallest = self.build_size
        self.preprocessor = preprocessor or Preprocessor()
        self.class_names = class_names
        self.sampling_seed = 0
        self._inference: Any = None
        self._on_replicas: ReplicaTraces | None = None
        self._inference_of, self._predict_of = 0, 0
        self.backbone, self.neck = backbone, neck
        self.receptive_fields = receptive_fields

    @property
    def takes_proposals(self) -> bool:
        """Whether the inputs hold ``proposals``: it is a second stage alone (Fast R-CNN)."""
        return False

    @property
    def num_classes(self) -> int | None:
        """Classes that the labels of its targets may have; None: labels play no part."""
        return None

    @property
    def class_names(self) -> list[str] | None:
        """Names of the classes in label order, None where nobody gave them; saved with the model.

        Raises:
            ValueError: when other than ``num_classes`` names are set.
        """
        return None if self._class_names is None else list(self._class_names)

    @class_names.setter
    def class_names(self, names: Sequence[str] | None) -> None:
        names = None if names is None else [str(name) for name in names]
        self._class_names = names
        if not self.built:
            return  # the constructor runs: the heads are not there yet
        if names is not None and self.num_classes not in (None, len(names)):
            raise ValueError(
                f"{self.name} has {self.num_classes} classes but {len(names)} class_names: {names}."
            )
        remember(self, class_names=names)

    def name_of(self, label: int) -> str:
        """The name of a label: ``class 3`` where nobody named the classes, ``padding`` for -1."""
        label = int(label)
        if label < 0:
            return "padding"
        return f"class {label}" if self._class_names is None else self._class_names[label]

    # ---- building

    def create_variables(self) -> None:
        """Build every layer by one call on an empty image, and apply freezing."""
        if self.receptive_fields is not None:
            self.receptive_fields.apply(self)
        parts = [part for part in layers_of(self) if isinstance(part, Layer)]
        size = self.smallest = max([self.build_size, *(part.build_size for part in parts)])
        images, info = self.preprocess(tf.zeros([1, size, size, 3]))
        self.build_all(images, info)
        self.built = True
        for layer in layers_of(self):
            if not layer.trainable:
                layer.trainable = False  # again, now that the variables exist

    def build_all(self, images: tf.Tensor, info: ImageInfo) -> None:
        """Call every layer once; detectors whose inference skips layers extend it."""
        self.detect(images, info)

    def build(self, input_shape: Any = None) -> None:
        """Nothing left to do: the constructor has built all variables."""

    # ---- the flow

    def preprocess(self, inputs: Inputs | tf.Tensor) -> View:
        """Normalized images ``[B,H,W,3]`` and ImageInfo (with ``padded_size``) from the inputs."""
        images, info = as_inputs(inputs)
        info["padded_size"] = self.preprocessor.padded_size(info["valid_size"], tf.shape(images)[1:3])
        return View(self.preprocessor.normalize(images, info["valid_size"]), info)

    def extract_features(self, images: tf.Tensor, training: bool = False) -> Maps:
        """Maps of backbone and neck for normalized images."""
        features = self.backbone(images, training=training)
        for neck in self.neck if isinstance(self.neck, (list, tuple)) else [self.neck]:
            features = features if neck is None else neck(features, training=training)
        return features

    def detect(self, images: tf.Tensor, info: ImageInfo) -> Detections:
        """Detections from normalized images."""
        raise NotImplementedError(f"{type(self).__name__} must define detect().")

    def detect_views(self, views: list[View]) -> Detections:
        """Detections from several views of the same images."""
        raise NotImplementedError(
            f"{type(self).__name__} has no test-time augmentation: predict without `augment`."
        )

    def forward_losses(
        self, images: tf.Tensor, info: ImageInfo, targets: Targets, proposals: tf.Tensor | None = None
    ) -> Losses:
        """Losses by name from normalized images; ``proposals [B,P,4]`` replace the model's own."""
        raise NotImplementedError(f"{type(self).__name__} must define forward_losses().")

    def call(self, inputs: Inputs | tf.Tensor, training: bool = False) -> Detections:
        return self.detect_inputs([inputs])

    def detect_inputs(self, inputs: list[Inputs | tf.Tensor], flip: bool = False) -> Detections:
        """Detections from the same images in several sizes.

        Args:
            inputs: list of inputs of the data contract, one per size.
            flip: look at every size mirrored too.
        """
        views = [self.preprocessor.placed(*self.preprocess(x)) for x in inputs]
        if flip:
            views = [v for view in views for v in (view, self.preprocessor.mirrored(*view))]
        with inference():
            return self.detect(*views[0]) if len(views) == 1 else self.detect_views(views)

    # ---- images

    def predict(
        self,
        x: Any,
        batch_size: int | None = None,
        verbose: int | str = "auto",
        steps: int | None = None,
        callbacks: list[keras.callbacks.Callback] | None = None,
        augment: Augmentation | dict[str, Any] | bool | None = None,
        proposals: Sequence[np.ndarray] | None = None,
        canvas: Canvas = "own",
    ) -> dict[str, Any]:
        """Detections of images of any sizes, in original pixels.

        Args:
            x: paths, folders, URLs, encoded bytes, PIL images, arrays or tensors ``[H,W,3]`` (RGB, 0..255)
                or ``[H,W]``; a list, an array or a generator of these. Or network inputs, which go to Keras'
                ``predict``: a tensor ``[B,H,W,3]``, a dict with ``images``, a ``tf.data.Dataset``. Where they
                have an ``image_id``, the results have it too, and fillers (``image_id`` -1) are left out.
            augment: look at an image several times and merge what was seen: True (mirrored too) or
                ``{"scales": [...], "flip": True}``, see ``kdet.detectors.predict.Augmentation``.
            proposals: of every image boxes ``[p,4]``, xyxy in its pixels, for a model that makes none
                itself (Fast R-CNN).
            canvas: what images are padded to. "own": as MMDetection does, to the next multiples of the
                preprocessor's divisor, in one graph for all sizes. "buckets": to one of a few static shapes
                with a graph each, for accelerators and XLA; see ``kdet.data.preprocess_images``.
            other arguments: as in Keras; ``batch_size`` is 1 when not given.

        Returns:
            For images :class:`kdet.results.Results`: the dict of arrays (see
            ``kdet.detectors.predict.predict_images``), whose item ``[0]`` is the first image's detections as
            an object with ``boxes``, ``names``, ``plot()``, ``to_supervision()`` ...

        Raises:
            TypeError: ``x`` is none of these, or holds values outside of 0..255 or NaN.
            ValueError: network inputs hold NaN or infinity, or another argument cannot be used.
        """
        if batch_size is not None:
            require_count("predict: batch_size", batch_size)
        if steps is not None:
            require_count("predict: steps", steps)
        if not is_network_input(x):
            shown = verbose not in (0, "auto")
            return predict_images(
                self, x, batch_size or 1,
                verbose=shown, augment=augment, proposals=proposals, canvas=canvas,
            )  # fmt: skip
        if augment or proposals is not None or canvas != "own":
            raise ValueError(
                "augment, proposals and canvas go with images (paths, bytes, arrays), not with network "
                "inputs."
            )
        with plain_errors():
            found = super().predict(x, batch_size, verbose, steps, callbacks)
        if "image_id" in found:
            real = found["image_id"] >= 0
            found = {name: value[real] for name, value in found.items()}
        return found

    def predict_iter(
        self,
        x: Any,
        batch_size: int = 1,
        augment: Augmentation | dict[str, Any] | bool | None = None,
        canvas: Canvas = "own",
        on_corrupt: OnCorrupt = "raise",
    ) -> Generator[Result, None, None]:
        """Detections of any number of images, one after the other, in bounded memory.

        Images are read and decoded while the network runs; masks are made when they are asked for.

        Args:
            x: images as in ``predict``: a list, a folder, a generator that never ends ...
            batch_size: images of like shape that go through together. One that finds no others is not kept
                waiting for long.
            augment, canvas: as in ``predict``.
            on_corrupt: "raise" ends with the first image that cannot be read; "report" gives a result
                without detections whose ``error`` says why, and goes on.

        Yields:
            A :class:`kdet.results.Result` for every image, in the order of ``x``.

        Raises:
            kdet.errors.DataError, TypeError: an image cannot be read, is none, or holds values outside of
                0..255.

        Example:
            >>> for result in model.predict_iter(pathlib.Path("photos").rglob("*.jpg"), on_corrupt="report"):
            ...     print(result.source, result.error or len(result.above(0.5)))
        """
        if self.takes_proposals:
            raise ValueError(f"{self.name} has no RPN: give predict(images, proposals=...).")
        return predict_each(self, x, batch_size, augment, canvas, on_corrupt)

    def make_predict_function(self, force: bool = False) -> Any:
        """As in Keras; traced anew after a setting of a component was changed."""
        stale, self._predict_of = self._predict_of != Component.changes, Component.changes
        return super().make_predict_function(force or stale)

    def predict_step(self, data: Any) -> Detections:
        inputs, *_ = keras.utils.unpack_x_y_sample_weight(data)
        check_finite(inputs)
        found = self(inputs)
        if isinstance(inputs, dict) and "image_id" in inputs:
            found = {**found, "image_id": inputs["image_id"]}
        return found

    def predict_on_batch(self, x: Inputs | tf.Tensor, canvas: Canvas = "own") -> dict[str, np.ndarray]:
        """Detections of one batch of network inputs as NumPy arrays.

        Args:
            x: image tensor ``[B,H,W,3]`` or dict of the data contract.
            canvas: "own": one graph for all heights and widths. "buckets": one with static shapes for every
                shape, for accelerators and XLA.

        Raises:
            ValueError: the inputs hold NaN or infinity.
        """
        check_finite(x)
        return self.predict_views_on_batch([x], canvas=canvas)

    def predict_views_on_batch(
        self, inputs: list[Inputs | tf.Tensor], flip: bool = False, canvas: Canvas = "own"
    ) -> dict[str, np.ndarray]:
        """As ``detect_inputs`` in a graph (for ``canvas`` see ``predict_on_batch``); NumPy arrays."""
        self._renew_traces()
        return {name: value.numpy() for name, value in self._inference(inputs, flip, canvas).items()}

    def predict_on_replicas(
        self, batches: list[list[Inputs | tf.Tensor]], flip: bool = False, canvas: Canvas = "own"
    ) -> list[dict[str, np.ndarray]]:
        """As ``predict_views_on_batch``, at once on every replica of the strategy that this process has.

        Args:
            batches: the views of a batch for each replica.
            flip, canvas: as there.

        Returns:
            What each of them found.
        """
        self._renew_traces()
        if self._on_replicas is None:
            self._on_replicas = ReplicaTraces(self.detect_inputs, self.distribute_strategy)
        every = self._on_replicas(batches, flip, canvas)
        return [{name: value.numpy() for name, value in found.items()} for found in every]

    def _renew_traces(self) -> None:
        """Forget the graphs when a setting of a component was changed."""
        if self._inference is None or self._inference_of != Component.changes:
            self._inference_of = Component.changes
            self._inference, self._on_replicas = Traces(self.detect_inputs), None

    @property
    def mask_threshold(self) -> float:
        """Probability above which a pixel belongs to the object."""
        return 0.5

    def image_masks(self, detections: dict[str, np.ndarray], height: int, width: int) -> np.ndarray:
        """Masks of one image's detections in its own size: bool ``[num_detections,height,width]``."""
        return paste(detections, height, width, self.mask_threshold)

    def mask_in_image(self, mask: tf.Tensor, box: tf.Tensor, size: tf.Tensor, canvas: tf.Tensor) -> tf.Tensor:
        """One mask in its image, inside a graph: bool ``[H,W]``.

        Args:
            mask: probabilities ``[m,m]`` of the detections.
            box: ``[4]`` in original pixels.
            size: int32 ``[2]`` (h, w) of the image.
            canvas: int32 ``[2]``, the (H, W) of the result; what lies outside of the image is False.
        """
        rows, columns = tf.range(canvas[0]), tf.range(canvas[1])
        height, width = tf.unstack(canvas)
        whole = ops.paste_masks(mask[None, None], box[None, None], height, width, self.mask_threshold)
        return whole[0, 0] & (rows < size[0])[:, None] & (columns < size[1])

    @classmethod
    def from_preset(cls, name: str, **kwargs: Any) -> "Detector":
        """The detector ``name`` of the zoo, or of a preset; arguments as in ``kdet.zoo.load``."""
        from kdet import zoo

        model = zoo.load(name, **kwargs)
        if not isinstance(model, cls):
            raise ValueError(f"{name!r} is a {type(model).__name__}, not a {cls.__name__}.")
        return model

    # ---- training

    def compute_losses(self, inputs: Inputs | tf.Tensor, targets: Targets) -> Losses:
        """Losses by name (scalars) of a batch of the data contract.

        Args:
            inputs: as in a call of the model.
            targets: see ``kdet.targets.as_targets``, which converts and checks them.
        """
        given, _ = as_inputs(inputs)
        targets = as_targets(targets, given, self.num_classes)
        check_images(given, self.step_seed()[1])
        images, info = self.preprocess(inputs)
        info["seed"] = self.step_seed()
        with quick_convolutions(), dropping_paths(info["seed"]):
            return self.forward_losses(images, info, targets)

    def step_seed(self) -> tf.Tensor:
        """Seed ``[2]`` of this step's random draws: the same step draws the same after a resume."""
        step = self.optimizer.iterations if self.compiled else 0
        return tf.stack([tf.constant(self.sampling_seed, tf.int32), tf.cast(step, tf.int32)])
