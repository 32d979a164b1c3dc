"""Which published model to take: the best figure that a time allows."""

import csv
import functools
from typing import Any, NamedTuple

from kdet import published
from kdet.errors import KdetError, short

# the published figure of each task
FIGURES = {"detection": "box_ap", "instance": "mask_ap", "panoptic": "pq", "proposal": "ar1000"}


class Recommendation(NamedTuple):
    """A model that no other one of the table is faster and better than.

    Attributes:
        name: of the recipe.
        figure: published figure of the task (AP of boxes or of masks, PQ), in percent.
        milliseconds: measured time of ``predict`` for one image, from the file's pixels on.
        parameters: learnable parameters.
        license: of the published weights.
    """

    name: str
    figure: float
    milliseconds: float
    parameters: int
    license: str

    def __str__(self) -> str:
        size = f"{self.parameters / 1e6:.1f} M"
        return f"{self.name:40} {self.figure:5.1f} {self.milliseconds:7.0f} ms {size:>9}  {self.license}"


def recommend(
    task: str = "detection", budget_ms: float | None = None, device: str | None = None
) -> list[Recommendation]:
    """Models to choose from, the best first, each with less time and a lower figure than the one before.

    Figures are the published ones on COCO, times those that ``benchmarks/benchmark_latency.py`` measured on
    one machine (``configs/latency.csv``): what it says of two models holds for others, the milliseconds do
    not.

    Args:
        task: "detection", "instance" (masks of objects) or "panoptic".
        budget_ms: longest time for an image; None for any.
        device: a device of the table; None for its first.

    Raises:
        KdetError: another task or device, or no model is as fast.

    Example:
        >>> kdet.zoo.recommend("instance", budget_ms=500)[0].name
    """
    if task not in FIGURES:
        raise KdetError(f"task is one of {', '.join(FIGURES)}; got {short(task)}.")
    times = _times()
    device = device or next(iter(times))
    if device not in times:
        raise KdetError(f"No times were measured on {device!r}; there are those of {', '.join(times)}.")
    known = [_recommendation(name, FIGURES[task], ms) for name, ms in times[device].items()]
    rows = sorted((row for row in known if row), key=lambda row: (-row.figure, row.milliseconds))
    if not rows:
        raise KdetError(f"The times of {device} hold no model for the task {task!r}.")
    front: list[Recommendation] = []
    for row in rows:
        if not front or row.milliseconds < front[-1].milliseconds:
            front.append(row)
    found = [row for row in front if budget_ms is None or row.milliseconds <= budget_ms]
    if not found:
        raise KdetError(
            f"No model for the task {task!r} is as fast as {budget_ms} ms on {device}; the fastest, "
            f"{front[-1].name}, takes {front[-1].milliseconds:.0f} ms."
        )
    return found


def _recommendation(name: str, figure: str, milliseconds: float) -> Recommendation | None:
    row = published.metadata(name)
    if figure not in row:
        return None
    return Recommendation(name, row[figure], milliseconds, row["parameters"], row["license"])


@functools.cache
def _times() -> dict[str, dict[str, float]]:
    """``{device: {name: milliseconds}}``."""
    found: dict[str, dict[str, Any]] = {}
    with open(published.configs_dir() / "latency.csv", newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            found.setdefault(row["device"], {})[row["name"]] = float(row["milliseconds"])
    return found
