"""``docs/zoo.md``: every recipe with its published figures, its parity status and its exports."""

import copy
import itertools
import json

from kdet.config import Config, recipes
from kdet.parity.report import column_of

HEADER = """# The zoo

Made by `tools/zoo_table.py`; do not edit. `kdet.zoo.info(name)` says more about a model, `kdet.zoo.load(name)`
builds it.

- **AP**: of boxes, and of masks after the slash, as published by the reference on COCO val2017 (on its own data
  set for LVIS, Cityscapes, VOC, WIDER FACE, DeepFashion; for proposal networks AR at 1000 proposals). Measured
  there, not here.
- **Parity**: `pass` when outputs, detections, masks, losses and gradients agree with the reference at generated
  weights within the tolerances of [parity.md](parity.md); otherwise the stages that miss them; empty when not
  compared.
- **Exports**: those that were made and gave the model's own detections again; crossed out what failed (reasons
  at the end); empty when not tried.

Parity and exports hold for all recipes with the same model section: a longer schedule, or other weights to start
from, change nothing about them.
"""


def markdown(parity, exports):
    """The page.

    Args:
        parity: results of ``kdet.parity.report.load_results``.
        exports: ``{recipe: {kind of export: "ok" or the reason why not}}``.
    """
    compared = _by_model({r["name"]: _verdict(r["rows"]) for r in parity.values()})
    exported = _by_model(exports)
    lines, counts = [], {"pass": 0, "miss": 0}
    shipped = sorted(recipes().items(), key=lambda item: (item[1].parent.name, item[0]))
    for family, members in itertools.groupby(shipped, key=lambda item: item[1].parent.name):
        lines += [f"\n## {family}\n", "| model | AP | parity | exports |", "|-|-|-|-|"]
        for name, _ in members:
            config = Config.load(name, check=False)
            key = model_key(config)
            verdict = compared.get(key, "")
            if verdict:
                counts["pass" if verdict == "pass" else "miss"] += 1
            made = _exports_cell(exported.get(key, {}))
            lines.append(f"| {name} | {_published(config.get('metadata', {}))} | {verdict} | {made} |")
    total = len(shipped)
    summary = (
        f"{total} recipes in {len({path.parent for _, path in shipped})} families. Parity: {counts['pass']} "
        f"pass every stage, {counts['miss']} miss one, {total - sum(counts.values())} are not compared."
    )
    reasons = [
        f"- {name}, {kind}: {result}"
        for name, made in sorted(exports.items())
        for kind, result in sorted(made.items())
        if result != "ok"
    ]
    if reasons:
        lines += ["\n## What does not export\n", *reasons]
    return "\n".join([HEADER, summary, *lines]) + "\n"


def model_key(config):
    """What two recipes share when one's outputs, losses and gradients speak for the other.

    The model section without what only decides which numbers go in: normalisation and first weights.
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


def _verdict(rows):
    missed = dict.fromkeys(column_of(stage) for stage, _, passed, _ in rows if not passed)
    return ", ".join(missed) or "pass"


def _published(figures):
    if "ar1000" in figures:
        return f"AR {figures['ar1000']:.1f}"
    return " / ".join(f"{figures[key]:.1f}" for key in ("box_ap", "mask_ap") if key in figures)


def _exports_cell(made):
    return ", ".join(kind if result == "ok" else f"~~{kind}~~" for kind, result in sorted(made.items()))
