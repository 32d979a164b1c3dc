"""What a recipe may say: the known sections and keys, and the checks against constructor signatures.

In ``model`` every mapping with a ``type`` is checked against the constructor of that class. The keys of
``data`` and ``train`` are listed here, in one place.
"""

import difflib
import inspect
import typing

from kdet import registry

# A leaf says what a key accepts: ``None`` anything, a tuple its choices, a Python type (or several in a
# list) its kind. A mapping is a section with these keys only.
NUMBER = [int, float]

DATASET = {
    "format": ("coco", "voc", "tfrecord"),
    "annotations": [str, list],  # file(s); for voc the image-set file(s)
    "images": [str, list],  # picture folder(s), one per annotation file or one for all
    "classes": list,  # default: data.classes
    "masks": bool,  # read instance masks
    "resize": {
        "sizes": list,  # (long, short) limits
        "mode": ("keep_ratio", "fixed", "factor"),
        "multiscale": ("value", "range"),
        "ratio_range": list,
    },
    "flip": [float, int, bool],  # probability
    "crop": [list, dict],  # (w, h)
    "crop_first": dict,
    "center_crop": dict,
    "shift": [bool, dict],
    "photometric": (True, False, "last"),
    "expand": [bool, dict],
    "overlap_crop": [bool, dict],
    "albumentations": list,
    "instaboost": [bool, dict],
    "semantic": [str, list],  # folder(s) of class maps
    "semantic_stride": int,
    "divisor": int,
    "center_pad": int,
    "buckets": list,
    "filter_empty": bool,  # leave out pictures without objects
    "min_size": NUMBER,  # leave out pictures with a shorter side
    "min_box": NUMBER,  # leave out objects whose sides are not longer
    "oversample": NUMBER,  # repeat pictures with classes that are rarer than this share
    "on_missing": ("error", "skip"),
    "on_corrupt": ("error", "skip"),
    "allow_outside": bool,  # image names may lead out of the folder
    "crowds": ("ignore", "objects"),  # what objects marked iscrowd are
    "max_boxes": int,  # padded number of objects
    "proposals": [str, list],  # file(s) of pre-computed proposals (Fast R-CNN)
    "max_proposals": int,
    "shuffle": bool,
    "remainder": ("fill", "drop"),
    "repeat": int,  # passes over the files that count as one epoch
    "limit": int,  # only the first pictures
}
SECTIONS = {
    "model": dict,
    "data": {
        "classes": list,
        "train": DATASET,
        "val": DATASET,
        "test": DATASET,
        "metrics": list,  # "bbox", "segm", "proposal", "voc07", "voc12"
    },
    "train": {
        "optimizer": {
            "type": ("SGD", "AdamW"),
            "learning_rate": NUMBER,
            "momentum": NUMBER,
            "nesterov": bool,
            "beta_1": NUMBER,
            "beta_2": NUMBER,
            "epsilon": NUMBER,
            "weight_decay": NUMBER,
            "base_batch_size": int,  # the batch that the rate is meant for (linear scaling rule)
            "parameters": dict,
        },
        "schedule": {
            "type": ("step", "cosine", "polynomial", "constant"),
            "steps": list,
            "gamma": NUMBER,
            "min_ratio": NUMBER,
            "power": NUMBER,
            "by_epoch": bool,
            "warmup": ("linear", "exp", "constant"),
            "warmup_steps": int,
            "warmup_ratio": NUMBER,
        },
        "epochs": int,
        "batch_size": int,  # pictures of one step, over all devices
        "clip": NUMBER,  # largest global norm of the gradients
        "precision": ("float32", "mixed_float16", "mixed_bfloat16"),
        "loss_scale": [int, float, str],
        "initial": str,  # "imagenet" (what the backbone's `pretrained` names), a file or an address
        "seed": int,
        "log_every": int,
        "save_every": int,
        "evaluate_every": int,
    },
    "test": {"scales": list, "flip": bool},  # views of ``tools/test.py --tta``
    "metadata": None,
}

_LAYER_KEYWORDS = ("name", "dtype", "trainable")


class ConfigError(ValueError):
    """A recipe says something that kdet does not understand; the message names file and key path."""


def problems(config):
    """All ``(key path tuple, what is wrong)`` of a whole recipe."""
    found = []
    for key, value in config.items():
        if key not in SECTIONS:
            found.append(((str(key),), _unknown("section", (str(key),), key, SECTIONS)))
        elif key == "model":
            found.extend(spec_problems(value, ("model",)))
        else:
            found.extend(_section_problems(value, SECTIONS[key], (key,)))
    return found


def _section_problems(value, known, path):
    if value is None or known is None:
        return
    if isinstance(known, dict):
        if not isinstance(value, dict):
            yield path, f"{'.'.join(path)}: expected a mapping with {', '.join(known)}; got {value!r}."
            return
        for key, item in value.items():
            here = (*path, str(key))
            if key in known:
                yield from _section_problems(item, known[key], here)
            else:
                yield here, _unknown("key", here, key, known)
    else:
        text = _value_problem(value, known)
        if text:
            yield path, f"{'.'.join(path)}: {text}"


def _value_problem(value, known):
    """Why ``value`` does not fit the leaf ``known`` (choices, type or list of types); ``None`` if it does."""
    if isinstance(known, tuple):
        if value in known:
            return None
        return f"unknown value {value!r}. {suggest(value, known)}"
    kinds = tuple(known) if isinstance(known, list) else (known,)
    is_flag = isinstance(value, bool) and bool not in kinds
    if isinstance(value, kinds) and not is_flag:
        return None
    return f"expected {' or '.join(k.__name__ for k in kinds)}, got {value!r}."


def spec_problems(spec, path):
    """All ``(key path tuple, what is wrong)`` below a mapping whose ``type`` names classes."""
    if isinstance(spec, (list, tuple)):
        for i, item in enumerate(spec):
            yield from spec_problems(item, (*path, str(i)))
    if not isinstance(spec, dict):
        return
    for key, value in spec.items():
        yield from spec_problems(value, (*path, str(key)))
    if path == ("model",) and "type" not in spec:
        yield path, "model: has no `type`, the class of the detector."
    if "type" in spec:
        yield from _call_problems(spec, path)


def _call_problems(spec, path):
    dotted = ".".join(path)
    try:
        cls = lookup(spec["type"])
    except ConfigError as error:
        yield (*path, "type"), f"{dotted}.type: {error}"
        return
    parameters = keywords(cls)
    for key, value in spec.items():
        here = (*path, str(key))
        if key == "type":
            continue
        if key not in parameters:
            yield here, _unknown(f"keyword of {cls.__name__}", here, key, [k for k in parameters])
            continue
        text = _argument_problem(value, parameters[key])
        if text:
            yield here, f"{'.'.join(here)} ({cls.__name__}): {text}"
    missing = [n for n, p in own_keywords(cls).items() if p.default is p.empty and n not in spec]
    if missing:
        yield path, f"{dotted} ({cls.__name__}): missing {', '.join(missing)}."


def _argument_problem(value, parameter):
    """Holds a plain value against the ``Literal`` annotation or, failing that, the kind of the default."""
    if parameter is None or value is None or isinstance(value, (dict, list)):
        return None
    if typing.get_origin(parameter.annotation) is typing.Literal:
        return _value_problem(value, typing.get_args(parameter.annotation))
    default = parameter.default
    if isinstance(default, bool):
        return None if isinstance(value, bool) else f"expected true or false, got {value!r}."
    if isinstance(default, (int, float)) and not isinstance(value, (int, float)):
        return f"expected a number, got {value!r}."
    return None


def keywords(cls):
    """``{keyword: inspect.Parameter}`` that the constructor of ``cls`` takes (``None``: Keras' own).

    An open ``**kwargs`` goes on to the next base class, down to Keras' layer.
    """
    found = {}
    for base in _constructors(cls):
        parameters = inspect.signature(base.__init__).parameters.values()
        for name, parameter in own_keywords(base).items():
            found.setdefault(name, parameter)
        if not any(p.kind is p.VAR_KEYWORD for p in parameters):
            return found
    return {**dict.fromkeys(_LAYER_KEYWORDS), **found}


def own_keywords(cls):
    """The keywords that the nearest constructor of ``cls`` names itself."""
    for base in _constructors(cls):
        parameters = list(inspect.signature(base.__init__).parameters.items())[1:]
        return {n: p for n, p in parameters if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)}
    return {}


def _constructors(cls):
    """The classes of the hierarchy with a constructor of their own, Keras' excluded."""
    for base in inspect.getmro(cls):
        if "__init__" in base.__dict__ and not base.__module__.startswith(("keras.", "builtins")):
            yield base


def lookup(type_name):
    """The registered class, or a :class:`ConfigError` with the nearest names."""
    try:
        return registry.get(type_name)
    except KeyError as error:
        raise ConfigError(error.args[0]) from None


def _unknown(what, path, key, known):
    return f"{'.'.join(path)}: unknown {what}. {suggest(key, known)}"


def suggest(wanted, known):
    """A sentence with the nearest of the ``known`` names, or with all of them when none is near."""
    known = [str(k) for k in known]
    near = difflib.get_close_matches(str(wanted), known, n=3)
    if near:
        return f"Did you mean {' or '.join(map(repr, near))}?"
    return f"Known: {', '.join(known[:20])}{' ...' if len(known) > 20 else ''}." if known else ""
