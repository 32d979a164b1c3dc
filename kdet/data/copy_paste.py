"""Simple copy-paste: objects of another image, pasted by their masks.

Ghiasi et al., "Simple Copy-Paste is a Strong Data Augmentation Method for Instance Segmentation", 2021
(https://arxiv.org/abs/2012.07177).
"""

import dataclasses

import numpy as np
from pycocotools import mask as coco_mask

from kdet.data import masks
from kdet.data.mixing import Mixing, Piece, boxes_of, joined
from kdet.registry import register
from kdet.settings import Count, CountOrZero, Share


@register
class CopyPaste(Mixing):
    """Pastes a random part of another image's objects where they are.

    The other image has gone through the transforms before, so place this after the ones that bring images to
    one size. What is pasted hides what lies below: masks lose those pixels, boxes are those of what is left,
    and objects of which too little is left are dropped.

    Args:
        max_objects: at most so many are pasted.
        min_pixels: objects that lost pixels are kept while more than this are left.
        probability: share of the images.
    """

    images, needs_masks, takes_finished = 2, True, True

    def __init__(
        self, max_objects: Count = 100, min_pixels: CountOrZero = 0, probability: Share = 1.0
    ) -> None:
        super().__init__(probability)
        self.max_objects, self.min_pixels = max_objects, min_pixels

    def mix(self, pieces: list[Piece], random: np.random.Generator) -> Piece:
        own, other = pieces
        count = int(random.integers(0, len(other.labels) + 1))
        chosen = np.sort(random.permutation(len(other.labels))[: min(count, self.max_objects)])
        return self.paste(own, other.kept(chosen))

    def paste(self, own: Piece, other: Piece) -> Piece:
        """``own`` with all objects of ``other`` on top, of which only what lies inside is used."""
        other = dataclasses.replace(
            other.window((0, 0), own.size, 0), ignore_boxes=np.zeros((0, 4), np.float32)
        )
        other = dataclasses.replace(other, boxes=boxes_of(other.masks or [])).visible()
        if not len(other.labels):
            return own
        pasted = coco_mask.decode(coco_mask.merge(other.masks)).astype(bool)
        image = np.where(pasted[..., None], other.image, own.image)
        return joined(image, [_below(own, pasted, self.min_pixels), other])


def _below(own: Piece, pasted: np.ndarray, min_pixels: float) -> Piece:
    """``own`` without the pixels that ``pasted [h, w]`` hides."""
    shown, boxes, keep = [], own.boxes.copy(), []
    for i, rle in enumerate(own.masks or ()):
        whole = coco_mask.decode(rle)
        left = whole.astype(bool) & ~pasted
        hidden = int(left.sum()) < int(whole.sum())
        keep.append(not hidden or left.sum() > min_pixels)
        shown.append(masks.encode_pixels(left) if hidden else rle)
        if hidden:
            boxes[i] = boxes_of(shown[-1:])[0]
    return dataclasses.replace(own, boxes=boxes, masks=shown).kept(np.array(keep, bool))
