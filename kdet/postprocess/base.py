"""What post-processing asks of a suppression of duplicates."""

from typing import Protocol

from kdet.contract import Detections
from kdet.typing import Tensor


class Suppression(Protocol):
    """Removes what duplicates a better candidate (``NMS``, ``SoftNMS``).

    ``FastNMS``, which looks at all classes of a box together, takes a threshold in the place of ``labels``.
    """

    def __call__(
        self, boxes: Tensor, scores: Tensor, labels: Tensor, max_output: int
    ) -> tuple[Detections, Tensor]:
        """The best candidates of every image.

        Args:
            boxes: ``[B,K,4]``.
            scores: ``[B,K]``, ``INVALID_SCORE`` for rows that are no candidates.
            labels: int32 ``[B,K]``; boxes of different labels do not compete.
            max_output: rows of the result.

        Returns:
            Detections, best first, padded with zeros and label -1; and the rows that they came from, int32
            ``[B,N]``.
        """
