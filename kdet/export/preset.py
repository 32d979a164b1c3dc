"""The format "preset": a folder that kdet itself loads, for sharing."""

from kdet import presets
from kdet.detectors import Detector
from kdet.export.formats import register_format
from kdet.typing import PathLike


@register_format("preset", folder=True, title="preset")
def export_preset(model: Detector, path: PathLike) -> PathLike:
    """Write a detector as a preset, see ``Detector.save_to_preset``."""
    return presets.save(model, path)
