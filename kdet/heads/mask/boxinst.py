"""BoxInst: masks learned from boxes alone (Tian et al., 2021, arXiv:2012.02310)."""

from typing import Any

import tensorflow as tf

from kdet.contract import Assignment
from kdet.heads.base import Losses
from kdet.heads.mask.color_similarity import neighbors
from kdet.heads.mask.condinst import CondInstMaskHead, Drawn
from kdet.heads.mask.dynamic import chosen_rows
from kdet.layers import replica_mean
from kdet.ops import pack_bits
from kdet.registry import register
from kdet.typing import Tensor


@register
class BoxInstMaskHead(CondInstMaskHead):
    """``CondInstMaskHead`` that learns from boxes: where masks end, and which pixels belong together.

    Of the positives of an image the surest are learned, as many of every object.

    Args:
        max_masks: so many positives of an image are learned.
        dilation: cells between the neighbors of which both belong to the object or neither.
        warmup_steps: training steps over which the loss of neighbors comes up to its own.
        other arguments: see ``CondInstMaskHead``.
    """

    def __init__(
        self, max_masks: int = 64, dilation: int = 2, warmup_steps: int = 10_000, **kwargs: Any
    ) -> None:
        super().__init__(max_masks=max_masks, **kwargs)
        self.share, self.dilation, self.warmup_steps = max_masks, dilation, warmup_steps

    def learned(self, assignment: Assignment, confidence: Tensor, seed: Tensor) -> tuple[Tensor, Tensor]:
        count = tf.shape(confidence)[1]
        rows, real = chosen_rows(assignment.positive, count)  # [B, M]
        owner, sureness = (tf.gather(x, rows, batch_dims=1) for x in (assignment.gt_index, confidence))
        rivals = (owner[:, :, None] == owner[:, None]) & real[:, None]  # [B, M, M]: of the same object
        place = tf.range(tf.shape(rows)[1])
        surer = sureness[:, None] > sureness[:, :, None]
        surer |= (sureness[:, None] == sureness[:, :, None]) & (place < place[:, None])
        rank = tf.reduce_sum(tf.cast(rivals & surer, tf.int32), -1)
        objects = tf.reduce_sum(tf.cast(real & (rank == 0), tf.int32), 1, keepdims=True)  # [B, 1]
        share = tf.maximum(self.share // tf.maximum(objects, 1), 1)
        kept, still_real = chosen_rows(real & (rank < share), tf.shape(rows)[1])
        return tf.gather(rows, kept, batch_dims=1), still_real

    def weak_losses(self, drawn: Drawn, similar: Tensor, step: Tensor) -> Losses:
        """``loss_mask_project`` and ``loss_mask_pairwise``.

        Args:
            drawn: masks, and boxes as masks.
            similar: which neighbors look alike, ``[B,8,h,w]``.
            step: of the training.
        """
        logits, truth, real = drawn
        project = [
            self.mean_loss(tf.sigmoid(tf.reduce_max(logits, axis)), tf.reduce_max(truth, axis), real)
            for axis in (2, 3)
        ]
        inside = tf.where(real[..., None, None], truth, 0.0)  # [B, M, h, w]
        present, absent = tf.math.log_sigmoid(logits), tf.math.log_sigmoid(-logits)
        total = 0.0
        others = zip(neighbors(present, self.dilation), neighbors(absent, self.dilation), strict=True)
        for place, (also_present, also_absent) in enumerate(others):
            both, neither = present + also_present, absent + also_absent
            largest = tf.maximum(both, neither)
            same = largest + tf.math.log(tf.exp(both - largest) + tf.exp(neither - largest))
            total -= tf.reduce_sum(same * inside * similar[:, None, place])
        pairs = tf.einsum("bmhw,bkhw->b", inside, similar)
        some = tf.reduce_any(real, 1)
        pairs = tf.reduce_sum(tf.where(some, tf.maximum(pairs, 1.0), 0.0))
        share = tf.minimum(tf.cast(step, tf.float32) / float(self.warmup_steps), 1.0)
        return {
            "loss_mask_project": tf.add_n(project),
            "loss_mask_pairwise": share * total / tf.maximum(replica_mean(pairs), 1.0),
        }


def box_masks(boxes: Tensor, height: Tensor, width: Tensor) -> Tensor:
    """Boxes ``[B,G,4]`` as bit-packed masks ``[B,G,height,ceil(width/8)]``, their last pixels included."""
    low, high = tf.cast(boxes[..., :2], tf.int32), tf.cast(boxes[..., 2:] + 1.0, tf.int32)
    x, y = tf.range(width), tf.range(height)
    columns = pack_bits((x >= low[..., :1]) & (x < high[..., :1]))  # [B, G, ceil(W/8)]
    rows = (y >= low[..., 1:]) & (y < high[..., 1:])  # [B, G, H]
    return tf.where(rows[..., None], columns[:, :, None], tf.constant(0, tf.uint8))
