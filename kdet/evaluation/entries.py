"""What ground truth and results must be before anything is scored: entries as COCO has them."""

import numbers
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from kdet.errors import DataError, short
from kdet.evaluation.columns import ResultTable

RESULT = "a result has image_id, category_id, score and bbox [x, y, w, h] or segmentation"
ANNOTATION = "an annotation has image_id, category_id and bbox [x, y, w, h]"


def check_results(results: Any, boxes: bool = True) -> None:
    """Raise for results that no evaluator can take; NaN and infinity pass, they are left out later.

    Args:
        results: list of COCO result dicts.
        boxes: whether every result needs a box.

    Raises:
        DataError: naming the entry, its key and its value.
    """
    if isinstance(results, ResultTable):  # made by kdet
        return
    for number, entry in enumerate(_entries(results, "The results are")):
        reason = _fault(entry) or (_box_fault(entry) if boxes or "bbox" in entry else None)
        if reason is None and not _is_number(entry.get("score")):
            reason = f"its score is {short(entry.get('score'))}, not a number"
        if reason:
            raise DataError(f"Entry {number} of the results: {reason} ({RESULT}).")


def check_truth(ground_truth: Any, sizes: bool = False) -> None:
    """Raise for a ground truth that is no COCO dict.

    Args:
        ground_truth: ``images``, ``categories`` and perhaps ``annotations``.
        sizes: whether the height and width of the images are needed.

    Raises:
        DataError: naming the entry, its key and its value.
    """
    if not isinstance(ground_truth, Mapping):
        raise DataError(f"The ground truth is a COCO dict, not {short(ground_truth)}.")
    _each(ground_truth, "images", lambda entry: _image_fault(entry, sizes))
    _each(ground_truth, "categories", _category_fault)
    if ground_truth.get("annotations") is not None:
        _each(ground_truth, "annotations", lambda entry: _fault(entry) or _box_fault(entry), ANNOTATION)


def check_threshold(name: str, value: Any) -> None:
    """Raise a DataError for what is no overlap from 0 to 1."""
    if not _is_number(value) or not 0 <= value <= 1:
        raise DataError(f"{name} must be a number from 0 to 1; got {short(value)}.")


def check_count(name: str, value: Any) -> None:
    """Raise a DataError for what is no whole number from 1 on."""
    if not isinstance(value, numbers.Integral) or isinstance(value, bool) or value < 1:
        raise DataError(f"{name} must be a whole number from 1 on; got {short(value)}.")


def _each(
    truth: Mapping[str, Any], key: str, fault: Callable[[Mapping[str, Any]], str | None], form: str = ""
) -> None:
    for number, entry in enumerate(_entries(truth.get(key), f"The ground truth's {key!r} are")):
        reason = fault(entry)
        if reason:
            raise DataError(
                f"Entry {number} of the ground truth's {key!r}: {reason}{f' ({form})' if form else ''}."
            )


def _entries(given: Any, what: str) -> Sequence[Mapping[str, Any]]:
    if isinstance(given, (list, tuple)):
        wrong = next((entry for entry in given if not isinstance(entry, Mapping)), None)
        if wrong is None and None not in given:
            return given
        given = wrong
    raise DataError(f"{what} a list of dicts, as in COCO's JSON; got {short(given)}.")


def _fault(entry: Mapping[str, Any]) -> str | None:
    """What is wrong with the ids of a result or an annotation, or None."""
    for key in ("image_id", "category_id"):
        if not _is_id(entry.get(key)):
            return f"its {key} is {short(entry.get(key))}, not an id"
    return None


def _box_fault(entry: Mapping[str, Any]) -> str | None:
    box = entry.get("bbox")
    try:
        numbered = len(box) == 4 and all(map(_is_number, box))  # type: ignore[arg-type]
    except TypeError:
        numbered = False
    return None if numbered else f"its bbox is {short(box)}, not four numbers"


def _image_fault(entry: Mapping[str, Any], sizes: bool) -> str | None:
    if not _is_id(entry.get("id")):
        return f"its id is {short(entry.get('id'))}, not an id"
    for key in ("height", "width") if sizes else ():
        side = entry.get(key)
        if not _is_number(side) or not 0 < side < 2**20 or side != int(side):  # type: ignore[operator,arg-type]
            return f"its {key} is {short(side)}, not a number of pixels"
    return None


def _category_fault(entry: Mapping[str, Any]) -> str | None:
    if not _is_id(entry.get("id")):
        return f"its id is {short(entry.get('id'))}, not an id"
    name = entry.get("name")
    return None if isinstance(name, str) else f"its name is {short(name)}, not a text"


def _is_id(value: Any) -> bool:
    return isinstance(value, (str, numbers.Integral)) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    return isinstance(value, numbers.Real) and not isinstance(value, bool)
