"""The keys of a data section, their defaults and checks. The table is in ``kdet.data``."""

import difflib
import os

from kdet import schema
from kdet.data import buckets
from kdet.errors import DataError

REQUIRED = object()
KEYS = {
    "format": "coco",
    "annotations": REQUIRED,
    "images": None,
    "classes": None,
    "masks": False,
    "resize": None,
    "flip": 0.5,
    "crop": None,
    "crop_first": None,
    "center_crop": None,
    "shift": None,
    "photometric": False,
    "expand": None,
    "overlap_crop": None,
    "albumentations": None,
    "instaboost": None,
    "semantic": None,
    "semantic_stride": 8,
    "divisor": None,
    "center_pad": None,
    "buckets": None,
    "filter_empty": True,
    "min_size": 32,
    "min_box": None,
    "ignore_below": None,
    "oversample": None,
    "on_missing": "error",
    "on_corrupt": "error",
    "allow_outside": False,
    "crowds": "ignore",
    "max_boxes": None,
    "proposals": None,
    "max_proposals": 2000,
    "shuffle": True,
    "remainder": "fill",
    "repeat": 1,
    "limit": None,
    "difficulty_lists": None,
}
RESIZE_KEYS = {"mode": "keep_ratio", "sizes": REQUIRED, "multiscale": "value", "ratio_range": None}
SECTION_KEYS = {
    "expand": {"mean": [0, 0, 0], "ratio": [1, 4]},
    "overlap_crop": {"min_ious": [0.1, 0.3, 0.5, 0.7, 0.9], "min_size": 0.3},
    "center_crop": {
        "size": REQUIRED,
        "ratios": [0.6, 0.7, 0.8, 0.9, 1.0, 1.1, 1.2, 1.3],
        "border": 128,
        "mean": [0, 0, 0],
    },
    "crop_first": {"probability": 0.5, "sizes": REQUIRED, "crop": [384, 600]},
    "shift": {"probability": 0.5, "max_pixels": 32},
    "crop": {"type": "absolute", "size": REQUIRED},
    "instaboost": {
        "probability": 0.5,
        "actions": {"normal": 1},
        "scale": [0.8, 1.2],
        "dx": 15,
        "dy": 15,
        "theta": [-1, 1],
        "color_probability": 0.5,
    },
}
PROBABILITIES = (
    ("crop_first", "probability"),
    ("shift", "probability"),
    ("instaboost", "probability"),
    ("instaboost", "color_probability"),
)
ACTIONS = ("normal", "horizontal", "vertical", "skip")  # of InstaBoost
CROP_TYPES = ("absolute", "absolute_range", "relative", "relative_range")
CHOICES = {
    "format": ("coco", "voc", "cityscapes", "wider_face", "tfrecord"),
    "on_missing": ("error", "skip"),
    "on_corrupt": ("error", "skip"),
    "crowds": ("ignore", "objects"),
    "remainder": ("fill", "drop"),
    "mode": ("keep_ratio", "fixed", "factor"),
    "multiscale": ("value", "range"),
    "photometric": (True, False, "last"),
}
DEFAULT_RESIZE = {"mode": "keep_ratio", "sizes": [[1333, 800]]}


def complete(spec, where="data"):
    """A full spec: defaults filled in, everything checked.

    Raises:
        DataError: naming the key, the value and the nearest valid one.
    """
    try:
        full = _complete(spec, where)
    except DataError:
        raise
    except (TypeError, ValueError, AttributeError, LookupError, OverflowError) as error:
        _check_kinds(spec, where)  # says which value is of another kind than its key takes
        raise DataError(f"{where} holds a value of another kind than its key takes ({error}).") from error
    _check_kinds(spec, where)
    return full


def _complete(spec, where):
    full = _fill(spec, KEYS, where)
    full["annotations"], full["images"] = (_plain_paths(full[key]) for key in ("annotations", "images"))
    full["resize"] = complete_resize(full["resize"], f"{where}.resize")
    full["flip"] = 0.5 if full["flip"] is True else float(full["flip"] or 0)
    if not 0 <= full["flip"] <= 1:
        raise DataError(f"{where}.flip is a probability (or true/false); got {spec['flip']!r}.")
    if isinstance(full["crop"], (list, tuple)):
        full["crop"] = {"size": full["crop"]}
    for key, known in SECTION_KEYS.items():
        if full[key]:
            full[key] = _fill({} if full[key] is True else full[key], known, f"{where}.{key}")
    _check_sections(full, where)
    return full


def _check_kinds(spec, where):
    """Kinds and ranges of all values, as in a recipe."""
    plain = {key: _plain_paths(value) for key, value in spec.items()}
    if not isinstance(plain.get("resize"), dict):
        plain.pop("resize", None)  # the short forms
    found = schema.dataset_problems(plain, (where,))
    if found:
        raise DataError("\n".join(text for _, text in found))


def _plain_paths(value):
    """``pathlib`` paths as texts, in lists too."""
    if isinstance(value, (list, tuple)):
        return [_plain_paths(item) for item in value]
    return os.fspath(value) if isinstance(value, os.PathLike) else value


def _check_sections(full, where):
    """Values of the nested sections that have a form of their own."""
    if full["crop"]:
        crop = full["crop"]
        if crop["type"] not in CROP_TYPES:
            raise DataError(
                f"{where}.crop.type must be one of {', '.join(CROP_TYPES)}; got {crop['type']!r}."
            )
        if crop["type"].startswith("absolute"):
            crop["size"] = _pair(crop["size"], f"{where}.crop.size")
        elif not all(0 < share <= 1 for share in crop["size"]):
            raise DataError(f"{where}.crop.size must hold shares of the image; got {crop['size']!r}.")
    if full["center_crop"]:
        full["center_crop"]["size"] = _pair(full["center_crop"]["size"], f"{where}.center_crop.size")
    if full["crop_first"]:
        first = full["crop_first"]
        first["sizes"] = [_pair(size, f"{where}.crop_first.sizes") for size in first["sizes"]]
        first["crop"] = _pair(first["crop"], f"{where}.crop_first.crop")
    for key, name in PROBABILITIES:
        if full[key] and not 0 <= full[key][name] <= 1:
            raise DataError(f"{where}.{key}.{name} must be 0..1; got {full[key][name]!r}.")
    if full["instaboost"]:
        _check_instaboost(full, where)
    for key in ("min_box", "ignore_below", "oversample"):
        if full[key] is not None and not full[key] > 0:
            raise DataError(f"{where}.{key} must be above 0; got {full[key]!r}.")


def _check_instaboost(full, where):
    section, here = full["instaboost"], f"{where}.instaboost"
    if not full["masks"]:
        raise DataError(f"{here} cuts objects out by their masks: set {where}.masks: true.")
    for key in ("semantic", "proposals"):
        if full[key]:
            raise DataError(f"{here} moves objects, and {where}.{key} cannot follow: leave out one of them.")
    section["actions"] = actions = _fill(section["actions"], dict.fromkeys(ACTIONS, 0), f"{here}.actions")
    if min(actions.values()) < 0 or not any(actions.values()):
        raise DataError(f"{here}.actions must be weights, one above 0 at least; got {actions!r}.")
    for key in ("scale", "theta"):
        limits = section[key]
        if not isinstance(limits, (list, tuple)) or len(limits) != 2 or not limits[0] <= limits[1]:
            raise DataError(f"{here}.{key} must be a pair [low, high]; got {limits!r}.")
    if any(int(degrees) != degrees for degrees in section["theta"]):
        raise DataError(f"{here}.theta must be whole degrees; got {section['theta']!r}.")
    for key, least in (("scale", section["scale"][0]), ("dx", section["dx"]), ("dy", section["dy"])):
        if not least > 0:
            raise DataError(f"{here}.{key} must be above 0; got {section[key]!r}.")


def canvas_shapes(size, fixed, divisor=None):
    """Canvas shapes (h, w) for a size: one for a fixed (w, h), the buckets for a (long, short) limit.

    ``divisor`` defaults to 1 for a fixed size and to 32 else.
    """
    if fixed:
        return [tuple(buckets.round_up(side, divisor or 1) for side in size[::-1])]
    return buckets.bucket_shapes(size, divisor or 32)


def complete_resize(resize, where="resize"):
    """The ``resize`` section with defaults.

    ``None`` gives the (1333, 800) rule, a pair that limit, a number that factor of the image's own size.
    """
    if isinstance(resize, (int, float)) and not isinstance(resize, bool):
        resize = {"mode": "factor", "sizes": [resize]}
    if resize is None:
        resize = DEFAULT_RESIZE
    if isinstance(resize, (list, tuple)):
        flat = not resize or not isinstance(resize[0], (list, tuple))
        resize = {"sizes": [resize] if flat else list(resize)}
    full = _fill(resize, RESIZE_KEYS, where)
    sizes = full["sizes"]
    if not isinstance(sizes, (list, tuple)) or not sizes:
        raise DataError(f"{where}.sizes must be a list of pairs such as [[1333, 800]]; got {sizes!r}.")
    if full["mode"] == "factor":
        full["sizes"] = [_factor(size, f"{where}.sizes") for size in sizes]
        if full["ratio_range"] is not None or full["multiscale"] == "range":
            raise DataError(f"{where}: mode factor takes sizes only, no ranges.")
        return full
    if not isinstance(sizes[0], (list, tuple)):
        sizes = [sizes]
    full["sizes"] = [_pair(size, f"{where}.sizes") for size in sizes]
    if full["ratio_range"] is not None and len(full["sizes"]) > 1:
        raise DataError(f"{where}.ratio_range works on one size; {len(full['sizes'])} are given.")
    if full["mode"] == "fixed" and len(full["sizes"]) > 1:
        raise DataError(f"{where}: mode fixed takes one size (w, h); {len(full['sizes'])} are given.")
    return full


def _fill(given, keys, where):
    if not isinstance(given, dict):
        raise DataError(f"{where} must be a mapping of keys; got {given!r}.")
    for key, value in given.items():
        if not isinstance(key, str) or key not in keys:
            near = difflib.get_close_matches(str(key), keys, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"known keys: {', '.join(keys)}."
            raise DataError(f"{where} has no key {key!r}; {hint}")
        if key in CHOICES and not any(value is c or value == c and type(value) is str for c in CHOICES[key]):
            known = ", ".join(map(str, CHOICES[key]))
            raise DataError(f"{where}.{key} must be one of {known}; got {value!r}.")
    full = {key: given.get(key, default) for key, default in keys.items()}
    missing = [
        key for key, value in full.items() if value is REQUIRED or (keys[key] is REQUIRED and not value)
    ]
    if missing:
        raise DataError(f"{where} lacks the key {missing[0]!r}.")
    return full


def _factor(value, where):
    if type(value) not in (int, float) or not 0 < value <= 100:
        raise DataError(f"{where} must hold positive factors in mode factor; got {value!r}.")
    return float(value)


def _pair(value, where):
    if not isinstance(value, (list, tuple)) or len(value) != 2 or not all(_is_side(v) for v in value):
        raise DataError(f"{where} must hold pairs of positive whole numbers; got {value!r}.")
    return [int(v) for v in value]


def _is_side(value):
    return type(value) in (int, float) and 0 < value < 2**17 and int(value) == value
