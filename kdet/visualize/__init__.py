"""Images for people: detections and training batches, drawn with supervision."""

from kdet.visualize.batches import draw_batch, grid
from kdet.visualize.drawing import draw, draw_detections, draw_segments

__all__ = ["draw", "draw_batch", "draw_detections", "draw_segments", "grid"]
