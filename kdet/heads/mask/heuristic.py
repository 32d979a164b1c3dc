"""Panoptic segments from instances and a semantic map (Panoptic FPN, Kirillov et al., 2019)."""

import tensorflow as tf

from kdet import ops
from kdet.contract import Detections, ImageInfo
from kdet.heads.mask.own_size import OwnSizes
from kdet.heads.mask.panoptic import Segments, numbered, pixels_of
from kdet.registry import Component, register
from kdet.typing import Tensor


@register
class HeuristicFusion(Component):
    """Lays the instances over each other, best first, and stuff where none is.

    Args:
        overlap_threshold: an instance is dropped where better ones cover a larger share of it.
        stuff_area_limit: least pixels of a class of stuff.
        mask_threshold: probability from which a pixel belongs to an instance.
    """

    def __init__(
        self, overlap_threshold: float = 0.5, stuff_area_limit: int = 4096, mask_threshold: float = 0.5
    ) -> None:
        self.overlap_threshold, self.stuff_area_limit = overlap_threshold, stuff_area_limit
        self.mask_threshold = mask_threshold

    def __call__(
        self, detections: Detections, semantic: Tensor, info: ImageInfo, canvas: Tensor, num_things: int
    ) -> Segments:
        """The segments of a batch.

        Args:
            detections: best first, with ``masks [B,N,m,m]`` in the frames of their boxes.
            semantic: logits ``[B,h,w,stuff+1]``, the last for all things.
            info: ImageInfo.
            canvas: int32 ``[2]``, height and width of the network's input.
            num_things: label of the first class of stuff.
        """
        own, stuff = OwnSizes(info, canvas), semantic.shape[-1] - 1
        count = detections["labels"].shape[1]

        def one(
            valid: Tensor,
            size: Tensor,
            maps: Tensor,
            masks: Tensor,
            boxes: Tensor,
            labels: Tensor,
            scores: Tensor,
        ) -> Segments:
            height, width = tf.unstack(size)
            masks = ops.paste_masks(masks[None], boxes[None], height, width, self.mask_threshold)[0]
            owner = self.laid(masks, labels >= 0)
            probabilities = tf.nn.softmax(own.resized(maps, valid, size))  # [H, W, stuff + 1]
            classes = tf.where(owner < 0, tf.argmax(probabilities, -1, tf.int32), stuff)
            areas = pixels_of(classes, tf.range(stuff))
            sure = tf.where(classes[..., None] == tf.range(stuff), probabilities[..., :-1], 0.0)
            sure = tf.reduce_sum(sure, [0, 1]) / tf.cast(tf.maximum(areas, 1), tf.float32)
            large = tf.concat([areas >= self.stuff_area_limit, [False]], 0)
            owner = tf.where(tf.gather(large, classes), count + classes, owner)
            kinds = tf.concat([labels, num_things + tf.range(stuff)], 0)
            found = numbered(owner, kinds, tf.concat([scores, sure], 0), kinds >= num_things)
            return found._replace(panoptic=own.filled(found.panoptic, size))

        rows = [tf.TensorSpec([count + stuff], dtype) for dtype in (tf.int32, tf.float32, tf.int32)]
        given = [semantic, *(tf.cast(detections[k], tf.float32) for k in ("masks", "boxes"))]
        given += [detections["labels"], detections["scores"]]
        return Segments(*own.each(one, given, Segments(tf.TensorSpec([None, None], tf.int32), *rows)))

    def laid(self, masks: Tensor, real: Tensor) -> Tensor:
        """Which mask ``[N,H,W]`` (best first) owns each pixel: int32 ``[H,W]``, -1 for none."""

        def lay(row: Tensor, owner: Tensor) -> tuple[Tensor, Tensor]:
            mask, free = masks[row], owner < 0
            area = tf.reduce_sum(tf.cast(mask, tf.float32))
            covered = tf.reduce_sum(tf.cast(mask & ~free, tf.float32))
            stays = real[row] & (covered / (area + 1e-5) <= self.overlap_threshold)
            return row + 1, tf.where(mask & free & stays, row, owner)

        nobody = tf.fill(tf.shape(masks)[1:], -1)
        return tf.while_loop(lambda row, _: row < tf.shape(masks)[0], lay, (0, nobody))[1]
