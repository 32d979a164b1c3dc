"""Matrix NMS: duplicates among masks lose score, all at once (SOLOv2, Wang et al., 2020)."""

import tensorflow as tf

from kdet.registry import Component, register
from kdet.typing import Tensor


@register
class MatrixNMS(Component):
    """What a segmentation head without boxes does between its masks and the detections.

    Args:
        score_threshold: candidates must score strictly more.
        mask_threshold: probability above which a pixel belongs to the object.
        filter_threshold: least score after the suppression.
        nms_pre: best candidates that enter the suppression.
        max_per_image: detections of one image.
        sigma: sharpness of the Gaussian by which overlaps lower a score.
    """

    def __init__(
        self,
        score_threshold: float = 0.1,
        mask_threshold: float = 0.5,
        filter_threshold: float = 0.05,
        nms_pre: int = 500,
        max_per_image: int = 100,
        sigma: float = 2.0,
    ) -> None:
        self.score_threshold, self.mask_threshold = score_threshold, mask_threshold
        self.filter_threshold, self.nms_pre = filter_threshold, nms_pre
        self.max_per_image, self.sigma = max_per_image, sigma

    def decay(self, masks: Tensor, labels: Tensor) -> Tensor:
        """Factor of every score, from the overlaps with better masks of the same class.

        Args:
            masks: 0 and 1, float32 ``[B,K,n]``, best first.
            labels: int32 ``[B,K]``.

        Returns:
            ``[B,K]`` in 0..1.
        """
        common = tf.matmul(masks, masks, transpose_b=True)  # [B, K, K]
        area = tf.reduce_sum(masks, -1)
        union = area[:, :, None] + area[:, None, :] - common
        order = tf.range(tf.shape(masks)[1])
        better = (order[:, None] < order) & (labels[:, :, None] == labels[:, None, :])
        overlap = tf.where(better, common / tf.maximum(union, 1.0), 0.0)  # of the better (row) and the worse
        # what suppresses another counts less where it would be suppressed itself
        own = tf.reduce_max(overlap, 1)
        factors = tf.exp(-self.sigma * tf.square(overlap)) / tf.exp(-self.sigma * tf.square(own))[:, :, None]
        return tf.reduce_min(factors, 1)

    def __call__(self, masks: Tensor, scores: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The best candidates of every image.

        Args:
            masks: probabilities ``[B,M,h,w]``.
            scores: ``[B,M]``; rows of score 0 are no candidates.
            labels: int32 ``[B,M]``.

        Returns:
            Rows of the candidates int32 ``[B,N]``, their scores ``[B,N]``, best first, and how many are
            detections, int32 ``[B]``. ``N`` is ``max_per_image``.
        """
        count = tf.shape(scores)[1]
        scores, rows = tf.math.top_k(scores, tf.minimum(self.nms_pre, count))
        inside = tf.cast(tf.gather(masks, rows, batch_dims=1) > self.mask_threshold, tf.float32)
        shape = tf.shape(inside)
        inside = tf.reshape(inside, [shape[0], shape[1], shape[2] * shape[3]])
        scores *= self.decay(inside, tf.gather(labels, rows, batch_dims=1))
        scores = tf.where(scores >= self.filter_threshold, scores, 0.0)
        missing = tf.maximum(self.max_per_image - tf.shape(scores)[1], 0)
        scores, rows = (tf.pad(x, [[0, 0], [0, missing]]) for x in (scores, rows))
        scores, best = tf.math.top_k(scores, self.max_per_image)
        found = tf.reduce_sum(tf.cast(scores > 0.0, tf.int32), 1)
        return tf.gather(rows, best, batch_dims=1), scores, found
