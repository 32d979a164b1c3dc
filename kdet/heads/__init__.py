"""Heads: predictions, targets, losses and decoding."""

from kdet.heads import dense, roi

__all__ = ["dense", "roi"]
