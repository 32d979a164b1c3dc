"""Transforms of the albumentations library in the pipeline (needs ``pip install kdet[albu]``)."""

import threading
from typing import Annotated, Any

import numpy as np
import tensorflow as tf

from kdet.data import faults
from kdet.data import transforms as geometry
from kdet.data.sample import Transform
from kdet.errors import DataError, short
from kdet.ranges import List, Plain
from kdet.registry import register
from kdet.settings import Share


@register
class Albumentations(Transform):
    """A chain of albumentations, a function of the seed like every other transform.

    The library also moves two images that hold the source row and column of every pixel: from them come the
    index maps by which masks follow. So only transforms that keep rows and columns straight (flips, shifts,
    crops, resizing, and everything about color) are possible where there are masks.

    Args:
        transforms: list of ``{"type": name, **arguments}``; ``OneOf`` and its like hold such a list under
            ``transforms``.
        min_visibility: objects of which a smaller share is left are dropped.

    Raises:
        ImportError: the library is not installed. ValueError: it has no transform of that name, or does not
            accept its arguments.
    """

    def __init__(
        self,
        transforms: Annotated[list[dict[str, Any]], Plain(List(dict, least=1))],
        min_visibility: Share = 0.0,
    ) -> None:
        self._transforms, self._min_visibility, self._straight = transforms, min_visibility, False
        self._local = threading.local()
        self._compose()  # to fail here and not in the middle of an epoch

    def prepare(self, *, masks: bool = False, semantic: bool = False, **facts: Any) -> None:
        """Where masks or class maps must follow, transforms that they cannot follow are refused."""
        self._straight = masks or semantic

    def __call__(self, sample: dict[str, tf.Tensor], seed: tf.Tensor) -> dict[str, tf.Tensor]:
        draw = tf.random.stateless_uniform([], seed, 0, 2**31 - 1, tf.int32)
        given = [sample["image"], sample["boxes"], sample["rows"], sample["columns"], draw]
        kinds = [sample["image"].dtype, tf.float32, tf.int32, tf.int32, tf.int32]
        image, boxes, kept, rows, columns = tf.numpy_function(
            faults.remembered(self._run), given, kinds, stateful=False
        )
        kept = tf.ensure_shape(kept, [None])
        return dict(
            sample,
            image=tf.ensure_shape(image, [None, None, 3]),
            boxes=geometry.clip(tf.ensure_shape(boxes, [None, 4]), tf.shape(image)[:2]),
            labels=tf.gather(sample["labels"], kept),
            objects=tf.gather(sample["objects"], kept),
            rows=tf.ensure_shape(rows, [None]),
            columns=tf.ensure_shape(columns, [None]),
        )

    def _run(
        self, image: np.ndarray, boxes: np.ndarray, rows: np.ndarray, columns: np.ndarray, draw: np.ndarray
    ) -> tuple[np.ndarray, ...]:
        shape = image.shape[:2]
        # one more than the index, so that what the library fills in (0) means "outside"
        places = [np.broadcast_to(rows[:, None], shape), np.broadcast_to(columns[None], shape)]
        compose = self._compose()
        compose.set_random_seed(int(draw))
        found = compose(
            image=image,
            bboxes=boxes.astype(np.float32),
            position=list(range(len(boxes))),
            masks=[(place + 1).astype(np.float32) for place in places],
        )
        row, column = (np.asarray(place, np.int32) - 1 for place in found["masks"])
        rows, columns = row.max(axis=1), column.max(axis=0)
        if self._straight:
            inside = (rows >= 0)[:, None] & (columns >= 0)
            same = (row == np.where(inside, rows[:, None], -1)) & (column == np.where(inside, columns, -1))
            if not same.all():
                raise DataError(
                    "Albumentations turns or bends images, which masks cannot follow here: leave such "
                    "transforms out."
                )
        boxes = np.asarray(found["bboxes"], np.float32).reshape(-1, 4)
        kept = np.asarray(found["position"], np.int32).reshape(-1)
        return np.asarray(found["image"], image.dtype), boxes, kept, rows, columns

    def _compose(self) -> Any:
        """The chain of this thread: it holds random state."""
        if "compose" not in vars(self._local):
            library = _library()
            steps = [_build(library, spec) for spec in self._transforms]
            boxes = library.BboxParams(
                format="pascal_voc", label_fields=["position"], min_visibility=self._min_visibility, clip=True
            )
            self._local.compose = library.Compose(steps, bbox_params=boxes)
        return self._local.compose


def _library() -> Any:
    try:
        import albumentations
    except ImportError as error:
        raise ImportError(
            "The transform Albumentations needs the library: pip install 'kdet[albu]'."
        ) from error
    return albumentations


def _build(library: Any, spec: Any) -> Any:
    if not isinstance(spec, dict) or not isinstance(spec.get("type"), str):
        raise DataError(f"transforms must list mappings with a `type`; got {short(spec)}.")
    kind = vars(library).get(spec["type"])
    base = library.BasicTransform, library.BaseCompose
    if not isinstance(kind, type) or not issubclass(kind, base):
        raise DataError(f"albumentations {library.__version__} has no {spec['type']!r}.")
    if not all(isinstance(key, str) for key in spec):
        raise DataError(f"{spec['type']} has a keyword that is no text: {short(spec)}.")
    arguments = {k: v for k, v in spec.items() if k != "type"}
    if "transforms" in arguments:
        if not isinstance(arguments["transforms"], list):
            raise DataError(f"{spec['type']}.transforms must be a list of mappings.")
        arguments["transforms"] = [_build(library, one) for one in arguments["transforms"]]
    try:
        return kind(**arguments)
    except Exception as error:  # the library checks by its own means
        raise DataError(f"{spec['type']} does not accept this: {error}") from error
