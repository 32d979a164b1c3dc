"""Which small goldens there are, and what each of them holds.

    python -m verification.small_table ../shared/parity/index.json ../shared/parity/index_2_28.json
    python -m verification.small_table

The first chooses them and writes ``verification/small_goldens.csv``; both write docs/small_goldens.md.
"""

import argparse
import collections
import csv
import json
import pathlib

PAGE = pathlib.Path(__file__).resolve().parent.parent / "docs" / "small_goldens.md"
# In which backbones differ without having other parts.
NUMBERS = {"base_width", "groups", "norm_eval"}
HEADING = """# Small goldens

Made by `verification/small_table.py`; do not edit. `tests/verification/test_small_goldens.py` holds kdet to
these numbers in every run of the suite. Each small golden is the reference's (MMDetection 2.28.2), which
builds the same model from its config with fewer channels and layers; *seed* is that of the weights, images
and objects, *left out* the gradients that the reference itself does not keep under noise of 1e-6 on the
images. An architecture whose backbone is in one small golden and whose other parts are in another has none
of its own; *parts of* counts the recorded architectures with parts in this one.

| small golden | seed | left out | parts of |
|-|-|-|-|
"""


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("indexes", nargs="*", type=pathlib.Path, help="index files of the large goldens")
    options = parser.parse_args()
    if options.indexes:
        write_table(options.indexes)
    PAGE.write_text(page(), encoding="utf-8")


def page():
    """docs/small_goldens.md from the table and the files."""
    import numpy as np

    from verification import small_golden
    from verification.golden import Golden

    parts = collections.Counter(
        holder for row in small_golden.table() for holder in {row["backbone_in"], row["rest_in"]}
    )
    lines, reasons = [], small_golden.missing()
    for recipe in sorted(small_golden.recorded()):
        path = small_golden.FOLDER / f"{recipe}.npz"
        if path.exists():
            golden = Golden(str(path))
            norms = golden.full("train/grad_norms")
            left_out = f"{np.isnan(norms).sum()} of {len(norms)}" if np.isnan(norms).any() else ""
            lines.append(f"| {recipe} | {golden.meta['seed']} | {left_out} | {parts[recipe]} |")
        else:
            lines.append(f"| {recipe} | none yet | | {parts[recipe]} |")
    page = HEADING + "\n".join(lines) + "\n"
    if reasons:
        page += "\n## Why some are missing\n\n"
        page += "".join(f"- {recipe}: {reason}\n" for recipe, reason in reasons.items())
    return page


def write_table(indexes):
    """Chooses small goldens so that each part of each recorded architecture is in one.

    Recorded architectures that have no recipe yet are left out.
    """
    from verification import run, small_golden

    entries = {
        entry["golden"]: entry["made_from"]
        for index in indexes
        for entry in json.loads(index.read_text()).values()
        if entry["golden"]
    }
    recipes = {run.recipe_of(config): config for config in entries.values()}
    recipes.pop(None, None)
    parts = {recipe: parts_of(recipe) for recipe in recipes}
    chosen = cover(parts)
    holder = {parts[recipe][i]: recipe for i in (0, 1) for recipe in reversed(chosen)}
    with open(small_golden.TABLE, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["recipe", "mmdet_config", "backbone_in", "rest_in"])
        for recipe in sorted(recipes):
            own = recipe in chosen
            holders = [recipe if own else holder[part] for part in parts[recipe]]
            writer.writerow([recipe, recipes[recipe], *holders])
    print(f"{len(recipes)} architectures, {len(chosen)} small goldens")


def parts_of(recipe):
    """The backbone of a recipe's small variant, and all the rest of it, as texts."""
    from verification import small_golden

    model = dict(small_golden.variant(recipe)["model"])
    backbone = model.pop("backbone")
    model.pop("preprocessor")
    backbone = {key: value for key, value in backbone.items() if key not in NUMBERS}
    for plugin in backbone.get("plugins", ()):
        plugin.pop("ratio", None)
    if isinstance(backbone.get("dcn"), dict):
        backbone["dcn"] = backbone["dcn"]["kind"]
    return tuple(json.dumps(part, sort_keys=True, default=str) for part in (backbone, model))


def cost(recipe):
    """Sorts recipes by what their models cost."""
    marks = ("_x101", "htc", "mask", "r101", "cascade")
    return (*(mark in recipe for mark in marks), len(recipe), recipe)


def cover(parts):
    """Recipes that have all backbones and all rests among them, the cheapest that do."""
    chosen, seen = [], set()
    backbones = {}
    for recipe, (backbone, _) in sorted(parts.items()):
        backbones.setdefault(backbone, []).append(recipe)
    for _, recipes in sorted(backbones.items(), key=lambda item: (len(item[1]), item[0])):
        chosen.append(min(recipes, key=lambda recipe: (parts[recipe][1] in seen, cost(recipe))))
        seen.update(parts[chosen[-1]])
    for recipe in sorted(parts, key=cost):
        if parts[recipe][1] not in seen:
            chosen.append(recipe)
            seen.update(parts[recipe])
    return chosen


if __name__ == "__main__":
    main()
