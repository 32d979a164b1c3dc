"""The Keras face that all detectors share."""

from collections.abc import Sequence

import keras
import tensorflow as tf

from kdet.compat import BuiltModel, layers_of
from kdet.detectors.exporting import Exporting
from kdet.detectors.given import is_network_input
from kdet.detectors.predict import paste, predict_images
from kdet.detectors.preprocessor import Preprocessor
from kdet.detectors.saving import Saving
from kdet.detectors.traces import Traces
from kdet.detectors.training import TrainingSteps
from kdet.layers import inference, quick_convolutions
from kdet.registry import Component, remember
from kdet.structures import as_inputs
from kdet.targets import as_targets, check_images


class Detector(TrainingSteps, Exporting, Saving, BuiltModel):
    """A detector as a ``keras.Model``: images in, detections in original pixels out.

    Subclasses call ``super().__init__``, set their parts, and end with ``self.create_variables()``.
    They define ``detect`` and ``forward_losses`` on normalized images. Training: ``TrainingSteps``;
    export: ``Exporting``; files: ``Saving``.

    Args:
        preprocessor: normalization and resize rule.
        class_names: names of the classes, in the order of the labels, or None.

    Call: an image tensor ``[B,H,W,3]`` (RGB, 0..255) or the dict of the data contract ->
    ``{"boxes" [B,N,4], "scores" [B,N], "labels" [B,N], "num_detections" [B], ...}``.
    """

    # smallest image on which every layer can be built; a part that needs a larger one says so likewise
    build_size = 64
    # whether the inputs hold ``proposals``: a second stage alone
    takes_proposals = False
    # how many classes the labels of its targets may have; None: labels play no part (proposal networks)
    num_classes: int | None = None

    def __init__(self, preprocessor=None, class_names=None, **kwargs):
        # inputs are pixels and sizes: they must not be cast to the compute dtype
        super().__init__(autocast=False, **kwargs)
        # suppression and cropping have no XLA kernels: Keras must not turn XLA on by itself
        self.supports_jit = False
        # the shortest side of an image that it can be run on; known better once its parts are built
        self.smallest = self.build_size
        self.preprocessor = preprocessor or Preprocessor()
        self.class_names = class_names
        self.sampling_seed = 0
        self._inference, self._inference_of, self._predict_of = None, 0, 0

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

    # ---- building

    def create_variables(self):
        """Builds every layer by one call on an empty image and applies freezing."""
        parts = layers_of(self)  # this model among them
        size = self.smallest = max(getattr(part, "build_size", 0) for part in parts)
        images, info = self.preprocess(tf.zeros([1, size, size, 3]))
        self.build_all(images, info)
        self.built = True
        for layer in layers_of(self):
            if not layer.trainable:
                layer.trainable = False  # again, now that the variables exist

    def build_all(self, images, info):
        """Calls every layer once; detectors whose inference skips layers extend it."""
        self.detect(images, info)

    def build(self, input_shape=None):
        """Nothing left to do: the constructor has built all variables."""

    # ---- the flow

    def preprocess(self, inputs):
        """Normalized images ``[B,H,W,3]`` and ImageInfo (with ``padded_size``) from the inputs."""
        images, info = as_inputs(inputs)
        info["padded_size"] = self.preprocessor.padded_size(info["valid_size"], tf.shape(images)[1:3])
        return self.preprocessor.normalize(images, info["valid_size"]), info

    def extract_features(self, images, training=False):
        """Maps of backbone and neck for normalized images."""
        features = self.backbone(images, training=training)
        for neck in self.neck if isinstance(self.neck, (list, tuple)) else [self.neck]:
            features = features if neck is None else neck(features, training=training)
        return features

    def detect(self, images, info):
        """Detections from normalized images."""
        raise NotImplementedError(f"{type(self).__name__} must define detect().")

    def detect_views(self, views):
        """Detections from several views ``[(images, info), ...]`` of the same images."""
        raise NotImplementedError(
            f"{type(self).__name__} has no test-time augmentation: predict without `augment`."
        )

    def forward_losses(self, images, info, targets, proposals=None):
        """Losses by name from normalized images; ``proposals [B,P,4]`` replace the model's own."""
        raise NotImplementedError(f"{type(self).__name__} must define forward_losses().")

    def call(self, inputs, training=False):
        return self.detect_inputs([inputs])

    def detect_inputs(self, inputs, flip=False):
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
        x,
        batch_size=None,
        verbose="auto",
        steps=None,
        callbacks=None,
        augment=None,
        proposals=None,
        canvas="own",
    ):
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
            For images see ``kdet.detectors.predict.predict_images``.

        Raises:
            TypeError: ``x`` is none of these, or holds values outside of 0..255 or NaN.
        """
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
        found = super().predict(x, batch_size, verbose, steps, callbacks)
        if "image_id" in found:
            real = found["image_id"] >= 0
            found = {name: value[real] for name, value in found.items()}
        return found

    def make_predict_function(self, force=False):
        """As in Keras; traced anew after a setting of a component was changed."""
        stale, self._predict_of = self._predict_of != Component.changes, Component.changes
        return super().make_predict_function(force or stale)

    def predict_step(self, data):
        inputs, *_ = keras.utils.unpack_x_y_sample_weight(data)
        found = self(inputs)
        if isinstance(inputs, dict) and "image_id" in inputs:
            found = {**found, "image_id": inputs["image_id"]}
        return found

    def predict_on_batch(self, x, canvas="own"):
        """Detections of one batch of network inputs as NumPy arrays.

        Args:
            x: image tensor ``[B,H,W,3]`` or dict of the data contract.
            canvas: "own": one graph for all heights and widths. "buckets": one with static shapes for every
                shape, for accelerators and XLA.
        """
        return self.predict_views_on_batch([x], canvas=canvas)

    def predict_views_on_batch(self, inputs, flip=False, canvas="own"):
        """As ``detect_inputs`` in a graph (for ``canvas`` see ``predict_on_batch``); NumPy arrays."""
        if self._inference is None or self._inference_of != Component.changes:
            self._inference_of = Component.changes
            self._inference = Traces(self.detect_inputs)
        return {name: value.numpy() for name, value in self._inference(inputs, flip, canvas).items()}

    def image_masks(self, detections, height, width):
        """Masks of one image's detections in its own size: bool ``[num_detections,height,width]``."""
        threshold = getattr(self.roi_head.mask_head, "mask_threshold", 0.5)
        return paste(detections, height, width, threshold)

    @classmethod
    def from_preset(cls, name, **kwargs):
        """The detector ``name`` of the zoo; arguments as in ``kdet.zoo.load``."""
        from kdet import zoo

        model = zoo.load(name, **kwargs)
        if not isinstance(model, cls):
            raise ValueError(f"{name!r} is a {type(model).__name__}, not a {cls.__name__}.")
        return model

    # ---- training

    def compute_losses(self, inputs, targets):
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
        with quick_convolutions():
            return self.forward_losses(images, info, targets)

    def step_seed(self):
        """Seed ``[2]`` of this step's random draws: the same step draws the same after a resume."""
        step = 0 if getattr(self, "optimizer", None) is None else self.optimizer.iterations
        return tf.stack([tf.constant(self.sampling_seed, tf.int32), tf.cast(step, tf.int32)])
