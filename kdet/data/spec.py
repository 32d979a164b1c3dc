"""The keys of a data section, their defaults and checks. The table is in ``kdet.data``."""

import difflib

from kdet.data import buckets

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
    "photometric": False,
    "expand": None,
    "overlap_crop": None,
    "divisor": None,
    "center_pad": None,
    "buckets": None,
    "filter_empty": True,
    "min_size": 32,
    "on_missing": "error",
    "on_corrupt": "error",
    "max_boxes": None,
    "proposals": None,
    "max_proposals": 2000,
    "shuffle": True,
    "remainder": "fill",
    "repeat": 1,
    "limit": None,
}
RESIZE_KEYS = {"mode": "keep_ratio", "sizes": REQUIRED, "multiscale": "value", "ratio_range": None}
DISTORTION_KEYS = {
    "expand": {"mean": [0, 0, 0], "ratio": [1, 4]},
    "overlap_crop": {"min_ious": [0.1, 0.3, 0.5, 0.7, 0.9], "min_size": 0.3},
}
CHOICES = {
    "format": ("coco", "voc", "tfrecord"),
    "on_missing": ("error", "skip"),
    "on_corrupt": ("error", "skip"),
    "remainder": ("fill", "drop"),
    "mode": ("keep_ratio", "fixed", "factor"),
    "multiscale": ("value", "range"),
    "photometric": (True, False),
}
DEFAULT_RESIZE = {"mode": "keep_ratio", "sizes": [[1333, 800]]}


def complete(spec, where="data"):
    """A full spec: defaults filled in, everything checked.

    Raises:
        ValueError: naming the key, the value and the nearest valid one.
    """
    full = _fill(spec, KEYS, where)
    full["resize"] = complete_resize(full["resize"], f"{where}.resize")
    full["flip"] = 0.5 if full["flip"] is True else float(full["flip"] or 0)
    if not 0 <= full["flip"] <= 1:
        raise ValueError(f"{where}.flip is a probability (or true/false); got {spec['flip']!r}.")
    if full["crop"] is not None:
        full["crop"] = _pair(full["crop"], f"{where}.crop")
    for key, known in DISTORTION_KEYS.items():
        if full[key]:
            full[key] = _fill({} if full[key] is True else full[key], known, f"{where}.{key}")
    return full


def canvas_shapes(size, fixed, divisor=None):
    """Canvas shapes (h, w) for a size: one for a fixed (w, h), the buckets for a (long, short) limit.

    ``divisor`` defaults to 1 for a fixed size and to 32 else.
    """
    if fixed:
        return [tuple(buckets.round_up(side, divisor or 1) for side in size[::-1])]
    return buckets.bucket_shapes(size, divisor or 32)


def complete_resize(resize, where="resize"):
    """The ``resize`` section with defaults.

    ``None`` gives the (1333, 800) rule, a pair that limit, a number that factor of the picture's own size.
    """
    if isinstance(resize, (int, float)):
        resize = {"mode": "factor", "sizes": [resize]}
    if resize is None:
        resize = DEFAULT_RESIZE
    if isinstance(resize, (list, tuple)):
        resize = {"sizes": [resize] if not isinstance(resize[0], (list, tuple)) else resize}
    full = _fill(resize, RESIZE_KEYS, where)
    sizes = full["sizes"]
    if not isinstance(sizes, (list, tuple)) or not sizes:
        raise ValueError(f"{where}.sizes must be a list of pairs such as [[1333, 800]]; got {sizes!r}.")
    if full["mode"] == "factor":
        full["sizes"] = [_factor(size, f"{where}.sizes") for size in sizes]
        if full["ratio_range"] is not None or full["multiscale"] == "range":
            raise ValueError(f"{where}: mode factor takes sizes only, no ranges.")
        return full
    if not isinstance(sizes[0], (list, tuple)):
        sizes = [sizes]
    full["sizes"] = [_pair(size, f"{where}.sizes") for size in sizes]
    if full["ratio_range"] is not None and len(full["sizes"]) > 1:
        raise ValueError(f"{where}.ratio_range works on one size; {len(full['sizes'])} are given.")
    if full["mode"] == "fixed" and len(full["sizes"]) > 1:
        raise ValueError(f"{where}: mode fixed takes one size (w, h); {len(full['sizes'])} are given.")
    return full


def _fill(given, keys, where):
    if not isinstance(given, dict):
        raise ValueError(f"{where} must be a mapping of keys; got {given!r}.")
    for key, value in given.items():
        if key not in keys:
            near = difflib.get_close_matches(str(key), keys, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"known keys: {', '.join(keys)}."
            raise ValueError(f"{where} has no key {key!r}; {hint}")
        if key in CHOICES and value not in CHOICES[key]:
            raise ValueError(f"{where}.{key} must be one of {', '.join(CHOICES[key])}; got {value!r}.")
    full = {key: given.get(key, default) for key, default in keys.items()}
    missing = [
        key for key, value in full.items() if value is REQUIRED or (keys[key] is REQUIRED and not value)
    ]
    if missing:
        raise ValueError(f"{where} lacks the key {missing[0]!r}.")
    return full


def _factor(value, where):
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value <= 0:
        raise ValueError(f"{where} must hold positive factors in mode factor; got {value!r}.")
    return float(value)


def _pair(value, where):
    if not isinstance(value, (list, tuple)) or len(value) != 2 or not all(int(v) == v > 0 for v in value):
        raise ValueError(f"{where} must hold pairs of positive whole numbers; got {value!r}.")
    return [int(v) for v in value]
