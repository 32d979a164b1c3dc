"""What a detector asks of its neck."""

from typing import Protocol

from kdet.typing import Maps


class Neck(Protocol):
    """Maps to maps."""

    def __call__(self, features: Maps, training: bool = False) -> Maps:
        """Maps ``[B,h,w,C]`` from those of the backbone, or of the neck before."""
