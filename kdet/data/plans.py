"""Which plan of batches a data set asks for."""

import numpy as np

from kdet.data import buckets
from kdet.data.class_aware import ClassAwarePlan
from kdet.data.index import DatasetIndex
from kdet.errors import DataError
from kdet.settings import Split
from kdet.typing import Array


def training_plan(
    index: DatasetIndex, bucket: Array, batch_size: int, split: Split, seed: int
) -> tuple[Array, buckets.BatchPlan]:
    """What training draws from, and in which order.

    Args:
        index: the data set.
        bucket: int ``[n]``, the bucket of each image.
        batch_size: images per global batch.
        split: what the recipe says of the data set.
        seed: of the shuffling.

    Returns:
        int ``[m]``, the images that the plan counts, several times where they are repeated; and the plan.

    Raises:
        DataError: two ways to balance classes at once, or no object to balance them by.
    """
    if split.class_aware:
        if split.oversample:
            raise DataError("class_aware and oversample are two ways to balance classes: leave one out.")
        objects = index.records.objects.compact()
        plan = ClassAwarePlan(
            bucket, batch_size, objects.owners, objects.labels, seed=seed, repeat=split.repeat
        )
        return np.arange(len(index)), plan
    counts = index.repeats(split.oversample) if split.oversample else 1
    order = np.tile(np.repeat(np.arange(len(index)), counts), split.repeat)
    plan_of_order = buckets.BatchPlan(
        bucket[order], batch_size, seed=seed, shuffle=split.shuffle, remainder=split.remainder
    )
    return order, plan_of_order
