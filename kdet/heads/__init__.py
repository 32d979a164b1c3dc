"""Heads: predictions, targets, losses and decoding."""

from kdet.heads import dense, keypoint, mask, query, roi

__all__ = [
    "dense",
    "keypoint",
    "mask",
    "query",
    "roi",
]
