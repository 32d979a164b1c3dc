"""Class names of two things that meet: they are compared by name, for counts alone hide another order."""

from collections.abc import Sequence


def require_same(
    first: Sequence[str] | None, second: Sequence[str] | None, first_is: str, second_is: str, hint: str = ""
) -> None:
    """Raise unless both name the same classes in the same order.

    Args:
        first, second: names in label order; None where nothing is known, then all is well.
        first_is, second_is: what has them, for the message.
        hint: what to do.

    Raises:
        ValueError: naming the first label that differs.
    """
    if first is None or second is None or list(first) == list(second):
        return
    if len(first) != len(second):
        what = f"{first_is} has {len(first)} classes and {second_is} has {len(second)}"
    else:
        label = next(i for i, (a, b) in enumerate(zip(first, second, strict=True)) if a != b)
        order = " (the same names in another order)" if set(first) == set(second) else ""
        what = f"label {label} is {first[label]!r} in {first_is} but {second[label]!r} in {second_is}{order}"
    hint = hint or "Give the names in one order by data.classes."
    raise ValueError(f"Classes do not agree: {what}. {hint}")
