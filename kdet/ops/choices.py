"""Where the compiled form of an op is quicker than TensorFlow's own, as measured.

``choices.csv`` beside this file has, per instruction set, op and class of shapes, the time of the compiled
form as a share of the portable one's. `kdet.ops.bench` measures and writes it; classes are named by their
least shape, at which they are measured, for there TensorFlow is at its best. What is not in the table is
not known to pay.
"""

import bisect
import csv
import functools
import pathlib
import platform
from collections.abc import Sequence

from kdet.ops import processor

TABLE = pathlib.Path(__file__).resolve().parent / "choices.csv"
# A form that saves less than this share of the time may lose as much on a like processor.
_MOST = 0.95


def pays(op: str, kind: str, cpu: str | None = None) -> bool:
    """Whether the compiled form is the quicker one.

    Args:
        op: name of the op.
        kind: class of shapes, as the op names it; False where the class was not measured.
        cpu: instruction set; None for the one in force.
    """
    return ratio(op, kind, cpu) <= _MOST


def loses(op: str, cpu: str | None = None) -> bool:
    """Whether an op without classes of shapes is known to be slower in its compiled form."""
    return 1.0 < ratio(op, "", cpu) < float("inf")


def ratio(op: str, kind: str, cpu: str | None = None) -> float:
    """Time of the compiled form as a share of the portable one's; infinity where nobody measured it."""
    return _table().get((cpu or processor.cpu(), op, kind), float("inf"))


def step(value: int, steps: Sequence[int]) -> int:
    """The largest of ``steps`` (rising) that is not above ``value``; 0 where all are."""
    place = bisect.bisect_right(steps, value)
    return steps[place - 1] if place else 0


@functools.cache
def _table() -> dict[tuple[str, str, str], float]:
    if platform.machine() != "x86_64":  # "baseline" is another instruction set there
        return {}
    with TABLE.open(encoding="utf-8", newline="") as file:
        return {(row["cpu"], row["op"], row["kind"]): float(row["ratio"]) for row in csv.DictReader(file)}
