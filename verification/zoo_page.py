"""``docs/zoo.md``: every recipe with its published figures, its parity status and its exports."""

import collections
import copy
import dataclasses
import functools
import itertools
import json

from kdet import zoo
from kdet.config import Config, recipes
from kdet.published import configs_dir
from verification import exact
from verification.report import column_of

HEADER = """# The zoo

Made by `verification/zoo_table.py`; do not edit. `kdet.zoo.info(name)` says more about a model and
`kdet.zoo.load(name)` builds it.

- **AP**: of boxes, and of masks after the slash, as published by the reference on COCO val2017 (on its own
  data set for LVIS, Cityscapes, VOC, WIDER FACE, DeepFashion; for proposal networks AR at 1000 proposals).
  Measured there, not here.
- **Parity**: `pass` when outputs, detections, masks, losses and gradients agree with the reference at
  generated weights within the tolerances of [parity.md](parity.md), `rounding` when what misses them agrees
  in float64; otherwise the stages that miss them; empty when not compared.
- **Exports**: those that were made and gave the model's own detections again; crossed out what failed
  (reasons at the end); empty when not tried. [exports.json](../verification/results/exports.json) says which
  were made of the small variant of a recipe only.

Parity and exports hold for all recipes with the same model section: a longer schedule, or other weights to
start from, change nothing about them.
"""


def records(parity, comparisons, exports):
    """One dict per recipe, by family and name: ``docs/zoo.json``, and what :func:`markdown` shows.

    Keys are the fields of ``kdet.zoo.ModelInfo`` that are not ``None`` (``config`` is under ``configs/``),
    ``task``, ``parity`` (``"pass"``, ``"rounding"``, the stages that miss, or empty) and ``exports``.

    Args:
        parity, comparisons: as for ``verification.report.markdown``.
        exports: ``{recipe: {kind of export: "fails: why", or in what manner it works}}``.
    """
    verdicts = {r["name"]: _verdict(r["rows"], comparisons, golden) for golden, r in parity.items()}
    compared, exported = _by_model(verdicts), _by_model(exports)
    shipped = sorted(recipes(), key=lambda name: (recipes()[name].parent.name, name))
    return [
        {**_facts(name), "parity": compared.get(_key(name), ""), "exports": exported.get(_key(name), {})}
        for name in shipped
    ]


@functools.cache
def _key(name):
    return model_key(Config.load(name, check=False))


@functools.cache
def _facts(name):
    facts = {
        key: value for key, value in dataclasses.asdict(zoo.info(name)).items() if value not in (None, ())
    }
    path = recipes()[name]
    place = {"config": path.relative_to(configs_dir()).as_posix(), "family": path.parent.name}
    return {**facts, **place, "task": _task(json.loads(_key(name)))}


def markdown(found, exports):
    """The page.

    Args:
        found: what :func:`records` gave.
        exports: as there.
    """
    lines = []
    counts = collections.Counter(
        r["parity"] if r["parity"] in ("", "pass", "rounding") else "miss" for r in found
    )
    for family, members in itertools.groupby(found, key=lambda record: record["family"]):
        lines += [f"\n## {family}\n", "| model | AP | parity | exports |", "|-|-|-|-|"]
        lines += [
            f"| {r['name']} | {_published(r)} | {r['parity']} | {_exports_cell(r['exports'])} |"
            for r in members
        ]
    summary = (
        f"{len(found)} recipes in {len({r['family'] for r in found})} families. Parity: "
        f"{counts['pass']} pass every stage, {counts['rounding']} do but for rounding, {counts['miss']} miss "
        f"one, {counts['']} are not compared."
    )
    reasons = [
        f"- {name}, {kind}: {result}"
        for name, made in sorted(exports.items())
        for kind, result in sorted(made.items())
        if result.startswith("fails")
    ]
    if reasons:
        lines += ["\n## What does not export\n", *reasons]
    return "\n".join([HEADER, summary, *lines]) + "\n"


def model_key(config):
    """What two recipes share when one's outputs, losses and gradients speak for the other.

    The model section without what only decides which numbers go in: normalization and first weights.
    """
    model = copy.deepcopy({k: v for k, v in config["model"].items() if k != "preprocessor"})
    model.get("backbone", {}).pop("pretrained", None)
    return json.dumps(model, sort_keys=True)


def _by_model(values):
    """``{model key: value}`` of ``{recipe: value}``; recipes that are no more are left out."""
    known = recipes()
    return {_key(name): value for name, value in values.items() if name in known}


def _verdict(rows, comparisons, golden):
    failing = [(stage, error) for stage, error, passed, _ in rows if not passed]
    missed = [
        column_of(stage) for stage, error in failing if not exact.reason(comparisons, golden, stage, error)
    ]
    return ", ".join(dict.fromkeys(missed)) or ("rounding" if failing else "pass")


def _task(model):
    """What the model finds: proposals, boxes, boxes with masks, or panoptic segments."""
    if model["type"] == "ProposalNetwork":
        return "proposals"
    if _has_key(model, "num_stuff"):
        return "panoptic segmentation"
    masks = any(_has_key(model, key) for key in ("mask_head", "mask_roi_size", "panoptic_head"))
    return "instance segmentation" if masks else "detection"


def _has_key(section, key):
    if isinstance(section, dict):
        return key in section or any(_has_key(value, key) for value in section.values())
    return isinstance(section, list) and any(_has_key(value, key) for value in section)


def _published(figures):
    if "ar1000" in figures:
        return f"AR {figures['ar1000']:.1f}"
    found = " / ".join(f"{figures[key]:.1f}" for key in ("box_ap", "mask_ap") if key in figures)
    return " / ".join(filter(None, [found, f"PQ {figures['pq']:.1f}" if "pq" in figures else ""]))


def _exports_cell(made):
    cells = (f"~~{kind}~~" if made[kind].startswith("fails") else kind for kind in sorted(made))
    return ", ".join(cells)
