"""``docs/zoo.md``: every recipe with its published figures, its parity status and its exports."""

import collections
import copy
import itertools
import json

from kdet.config import Config, recipes
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


def markdown(parity, comparisons, exports):
    """The page.

    Args:
        parity, comparisons: as for ``verification.report.markdown``.
        exports: ``{recipe: {kind of export: "fails: why", or in what manner it works}}``.
    """
    verdicts = {r["name"]: _verdict(r["rows"], comparisons, golden) for golden, r in parity.items()}
    compared = _by_model(verdicts)
    exported = _by_model(exports)
    lines, counts = [], collections.Counter()
    shipped = sorted(recipes().items(), key=lambda item: (item[1].parent.name, item[0]))
    for family, members in itertools.groupby(shipped, key=lambda item: item[1].parent.name):
        lines += [f"\n## {family}\n", "| model | AP | parity | exports |", "|-|-|-|-|"]
        for name, _ in members:
            config = Config.load(name, check=False)
            key = model_key(config)
            verdict = compared.get(key, "")
            counts[verdict if verdict in ("", "pass", "rounding") else "miss"] += 1
            made = _exports_cell(exported.get(key, {}))
            lines.append(f"| {name} | {_published(config.get('metadata', {}))} | {verdict} | {made} |")
    summary = (
        f"{len(shipped)} recipes in {len({path.parent for _, path in shipped})} families. Parity: "
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
    return {
        model_key(Config.load(name, check=False)): value for name, value in values.items() if name in known
    }


def _verdict(rows, comparisons, golden):
    failing = [(stage, error) for stage, error, passed, _ in rows if not passed]
    missed = [
        column_of(stage) for stage, error in failing if not exact.reason(comparisons, golden, stage, error)
    ]
    return ", ".join(dict.fromkeys(missed)) or ("rounding" if failing else "pass")


def _published(figures):
    if "ar1000" in figures:
        return f"AR {figures['ar1000']:.1f}"
    return " / ".join(f"{figures[key]:.1f}" for key in ("box_ap", "mask_ap") if key in figures)


def _exports_cell(made):
    cells = (f"~~{kind}~~" if made[kind].startswith("fails") else kind for kind in sorted(made))
    return ", ".join(cells)
