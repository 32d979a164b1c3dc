"""Records what named layers of a model return, under the golden's names and in its layout."""

import numpy as np
import tensorflow as tf

from verification import queries


def resolve(model, path):
    """The layer at a dotted attribute path (numbers index lists), or None."""
    node = model
    for part in path.split("."):
        node = node[int(part)] if part.isdigit() else getattr(node, part, None)
        if node is None:
            return None
    return node


def flatten(value, prefix=""):
    """``[(path, array), ...]`` of the tensors in nested tuples, lists and dicts."""
    if value is None:
        return []
    if isinstance(value, dict):
        value = value.items()
    elif isinstance(value, (tuple, list)):
        value = enumerate(value)
    else:
        return [(prefix, np.asarray(tf.cast(value, tf.float32)))]
    return [item for k, v in value for item in flatten(v, f"{prefix}/{k}")]


# layers that goldens name without the head that holds them
INNER = {
    "mask_feature_head": "mask_head.mask_feature_head",
    "bbox_roi_extractor": "roi_head.bbox_roi_extractor",
}


class Recorder:
    """Context in which calls of some layers are recorded.

    Args:
        model: detector.
        paths: dotted names of layers, those that the model lacks are in ``missing``.

    Attributes:
        outputs: ``{path or path#k: [(sub-path, array)]}`` per call.
        rois: ``{path or path#k: [B,N,4]}`` of layers called as ``layer(features, rois)``.
    """

    def __init__(self, model, paths):
        inner = {p: INNER.get(p, queries.place_of(model, p)) for p in paths}
        self.layers = {p: resolve(model, p) or resolve(model, inner[p]) for p in paths}
        self.missing = [p for p, layer in self.layers.items() if layer is None]
        self.outputs, self.rois = {}, {}

    def __enter__(self):
        for path, layer in self.layers.items():
            if layer is not None:
                object.__setattr__(layer, "call", self._wrapped(path, layer.call))
        return self

    def _wrapped(self, path, call):
        count = 0

        def recording(*args, **kwargs):
            nonlocal count
            result = call(*args, **kwargs)
            name = path if count == 0 else f"{path}#{count}"
            count += 1
            self.outputs[name] = flatten(result)
            if "roi_extractor" in path:
                self.rois[name] = np.asarray(args[1] if len(args) > 1 else kwargs["rois"])
                self.outputs[name].append(("/rois", with_image(self.rois[name])))
            return result

        return recording

    def __exit__(self, *exc):
        for layer in self.layers.values():
            if layer is not None:
                layer.__dict__.pop("call", None)


def with_image(rois):
    """Regions ``[B,N,4]`` in the reference's form ``[B*N,5]``, the index of the image first."""
    image = np.broadcast_to(np.arange(len(rois), dtype=rois.dtype)[:, None, None], (*rois.shape[:2], 1))
    return np.concatenate([image, rois], -1).reshape(-1, 5)


def to_reference_layout(array, shape, rows=None):
    """An NHWC array in the reference's layout, or None when the shapes cannot agree.

    Args:
        array: recorded output; a leading ``[B,N]`` pair may stand for the reference's ``[R]``.
        shape: of the golden.
        rows: for RoI outputs, which of our rows each of the reference's rows is.
    """
    forms = [array]
    if array.ndim > len(shape):
        forms = [array.reshape(-1, *array.shape[2:])]
    candidates = []
    for x in forms:
        if rows is not None and len(x) >= 1:
            x = x[rows]
        if x.ndim == 4:
            candidates.append(x.transpose(0, 3, 1, 2))
        candidates.append(x)
        if x.ndim == 4:  # [layers, B, N, C]: the reference's transformers have the batch behind the tokens
            candidates.append(x.transpose(0, 2, 1, 3))
        if x.ndim == 5:  # [layers, B, h, w, queries]
            candidates.append(x.transpose(0, 1, 4, 2, 3))
        if x.ndim == 3:  # channels of points; tokens of transformers
            candidates += [x.transpose(0, 2, 1), x.transpose(1, 0, 2)]
    return next((c for c in candidates if list(c.shape) == list(shape)), None)


def match_rows(golden_rois, rois):
    """Our row for each of the golden's RoIs: the nearest box of the same image that has no RoI yet.

    Detections of two classes can have the same box; both sides list them in the order of their scores.

    Args:
        golden_rois: ``[R,5]`` (image, x1, y1, x2, y2).
        rois: ``[B,N,4]``.

    Returns:
        int ``[R]`` rows of ``rois`` flattened, and the largest distance in pixels.
    """
    rows, worst = [], 0.0
    free = np.ones(rois.shape[:2], bool)
    for image, *box in golden_rois:
        distance = np.abs(rois[int(image)] - np.asarray(box)).max(-1)
        best = int(np.where(free[int(image)], distance, np.inf).argmin())
        free[int(image), best] = False
        worst = max(worst, float(distance[best]))
        rows.append(int(image) * rois.shape[1] + best)
    return np.asarray(rows, int), worst
