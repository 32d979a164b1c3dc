"""Which sizes the images of a chain of transforms can have: the canvases of training follow from it."""

import dataclasses
from typing import Literal


@dataclasses.dataclass(frozen=True)
class Extent:
    """The sizes that images can have at one place of a chain.

    Attributes:
        kind: "own": that of the file times ``factor``, or less; "fixed": at most ``size`` (w, h), one canvas
            for all; "within": a ``size`` (long, short) limit, in either direction; "unknown".
        size: see ``kind``.
        factor: of images in their own size.
        straight: images keep the aspect ratio that they have on disk.
        by_step: with "fixed": all sizes (w, h), of which every step has one.
        parts: with "within": the (long, short) limits of the parts of the sizes, of which every step has one.
        cause: the transform that makes the sizes unknown.
    """

    kind: Literal["own", "fixed", "within", "unknown"] = "own"
    size: tuple[int, int] | None = None
    factor: float = 1.0
    straight: bool = True
    by_step: tuple[tuple[int, int], ...] = ()
    parts: tuple[tuple[int, int], ...] = ()
    cause: str = ""

    def crooked(self) -> "Extent":
        """The same sizes at most, in any aspect ratio: an image that was resized fits its canvas still."""
        return self if self.kind in ("fixed", "within") else dataclasses.replace(self, straight=False)

    def grown(self, transform: object, straight: bool = False) -> "Extent":
        """Sizes that a transform has changed to something that is not known beforehand."""
        aspect = straight and self.straight
        return Extent("unknown", straight=aspect, cause=type(transform).__name__)
