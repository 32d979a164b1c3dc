"""The results of one worker as bytes, and those of all workers put together again."""

import io
from collections.abc import Sequence
from typing import Any

import numpy as np

from kdet.data.packed import Shapes, joined
from kdet.evaluation.columns import Columns
from kdet.evaluation.panoptic import PanopticResult
from kdet.evaluation.results import ResultList
from kdet.typing import Array

COLUMNS = ("image", "category", "boxes", "scores")


def packed(results: ResultList) -> bytes:
    """Results as bytes: arrays in NumPy's format, without any Python object."""
    found = results.entries.columns
    arrays: dict[str, Any] = {name: vars(found)[name] for name in COLUMNS}
    arrays.update(image_ids=np.asarray(results.image_ids, np.int64), not_finite=np.int64(results.not_finite))
    shapes = None if found.shapes is None else Shapes.of(found.shapes)
    if shapes is not None:
        arrays.update(shapes=shapes.data, shape_lengths=shapes.lengths)
    if results.panoptic:
        segments = list(results.panoptic.values())
        maps, _, lengths = joined(one.packed for one in segments)
        arrays.update(
            panoptic=np.fromiter(results.panoptic, np.int64),
            panoptic_sizes=np.array([one.size for one in segments], np.int64),
            panoptic_labels=np.array([label for one in segments for label in one.labels], np.int64),
            panoptic_counts=np.array([len(one.labels) for one in segments], np.int64),
            panoptic_maps=maps,
            panoptic_lengths=lengths,
        )
    content = io.BytesIO()
    np.savez(content, **arrays)
    return content.getvalue()


def joined_results(category_ids: Sequence[int], parts: Sequence[bytes]) -> ResultList:
    """The results of all workers in the order of their shares, each image once.

    Args:
        category_ids: as for :class:`ResultList`.
        parts: of every worker what :func:`packed` made.
    """
    results = ResultList(category_ids)
    seen: set[int] = set()
    for part in parts:
        with np.load(io.BytesIO(part), allow_pickle=False) as arrays:
            ids = [one for one in arrays["image_ids"].tolist() if one not in seen]
            results.image_ids += ids
            results.not_finite += int(arrays["not_finite"])
            found = Columns(**{name: arrays[name] for name in COLUMNS}, shapes=_shapes(arrays))
            results.entries.add(found.take(np.flatnonzero(~np.isin(found.image, list(seen)))))
            seen.update(ids)
            if "panoptic" in arrays:
                results.panoptic.update(_panoptic(arrays))
    return results


def _shapes(arrays: Any) -> Shapes | None:
    if "shapes" not in arrays:
        return None
    lengths = arrays["shape_lengths"]
    return Shapes(arrays["shapes"], np.cumsum(lengths) - lengths, lengths)


def _panoptic(arrays: Any) -> dict[int, PanopticResult]:
    sizes = arrays["panoptic_sizes"].tolist()
    labels = _cut(arrays["panoptic_labels"], arrays["panoptic_counts"])
    maps = _cut(arrays["panoptic_maps"], arrays["panoptic_lengths"])
    return {
        number: PanopticResult((height, width), tuple(own.tolist()), packed_map.tobytes())
        for number, (height, width), own, packed_map in zip(
            arrays["panoptic"].tolist(), sizes, labels, maps, strict=True
        )
    }


def _cut(values: Array, lengths: Array) -> list[Array]:
    """Runs of these lengths, one after the other."""
    return np.split(values, np.cumsum(lengths)[:-1])
