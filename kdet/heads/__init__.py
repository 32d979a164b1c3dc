"""Heads: predictions, targets, losses and decoding."""

from kdet.heads import dense, keypoint, mask, roi

__all__ = [
    "dense",
    "keypoint",
    "mask",
    "roi",
]
