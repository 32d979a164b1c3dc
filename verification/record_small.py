"""Records the small goldens of ``tests/golden/small``.

    python -m verification.record_small --table ../shared/parity/index.json
    python -m verification.record_small --peer PEER/bin/python --generator ../shared/oracle --name 'atss*'

``--table`` writes ``verification/small_goldens.csv`` anew: every recorded architecture, and the small goldens
that hold its parts. With ``--peer``, the Python of an environment with MMDetection 2.x, the reference
computes the small goldens that the table names (``verification/peers/mmdet_small.py``). One is kept only if
the weights of both sides have the same names and shapes, if it has something to compare, and if kdet passes
it; where rounding decides (docs/conditioning.md) the next seed is tried.
"""

import argparse
import csv
import fnmatch
import json
import pathlib
import subprocess
import sys
import tempfile

import numpy as np

SEEDS = 6
BATCH = 8  # of which the reference makes goldens in one process


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--table", type=pathlib.Path, metavar="INDEX", help="index.json of the goldens")
    parser.add_argument("--peer", help="Python of the environment that runs the reference")
    parser.add_argument("--generator", help="folder of make_golden.py")
    parser.add_argument("--name", default="*", help="shell pattern of recipes")
    options = parser.parse_args()
    if options.table:
        write_table(options.table)
    if options.peer:
        sys.exit(record(options))


def write_table(index):
    """Chooses small goldens so that each part of each recorded architecture is in one."""
    from verification import run, small_golden

    entries = {e["golden"]: e["made_from"] for e in json.loads(index.read_text()).values() if e["golden"]}
    recipes = {run.recipe_of(config): config for config in entries.values()}
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
    return tuple(json.dumps(part, sort_keys=True, default=str) for part in (backbone, model))


def cover(parts):
    """Recipes that have all backbones and all rests among them, the cheapest that do."""

    def cost(recipe):
        deep = ("_x101" in recipe, "htc" in recipe, "mask" in recipe, "r101" in recipe, "cascade" in recipe)
        return (*deep, len(recipe), recipe)

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


def record(options):
    """Number of small goldens that could not be recorded."""
    from verification import small_golden

    configs = small_golden.recorded()
    configs = {recipe: configs[recipe] for recipe in fnmatch.filter(configs, options.name)}
    failed = 0
    for size, recipes in by_size(configs).items():
        for start in range(0, len(recipes), BATCH):
            left = recipes[start : start + BATCH]
            for seed in range(SEEDS):
                left = left and record_batch(
                    {recipe: configs[recipe] for recipe in left}, size, seed, options
                )
            failed += len(left)
    return failed


def record_batch(configs, size, seed, options):
    """Recipes of ``{recipe: config}`` that cannot be recorded with this seed."""
    with tempfile.TemporaryDirectory() as folder:
        command = [options.peer, pathlib.Path(__file__).parent / "peers" / "mmdet_small.py"]
        command += ["--generator", options.generator, "--out", folder, "--seed", str(seed)]
        command += ["--size", *map(str, size), *configs.values()]
        output = subprocess.run(command, check=False, capture_output=True, text=True).stdout
        left = []
        for recipe, config in configs.items():
            path = pathlib.Path(folder) / (config.replace("/", "__") + ".npz")
            reasons = adopt(recipe, path) if path.exists() else ["the reference made none", output]
            print(f"{recipe}, seed {seed}: {'; '.join(reasons) or 'recorded'}", flush=True)
            if reasons:
                left.append(recipe)
    return left


def by_size(configs):
    """``{(h, w): [recipe]}``."""
    from verification import small_golden

    found = {}
    for recipe in configs:
        found.setdefault(small_golden.size(recipe), []).append(recipe)
    return found


def adopt(recipe, path):
    """Makes a golden of the reference the small golden of a recipe, or says why not: ``[str]``."""
    from verification import small_golden
    from verification.golden import Golden

    golden = Golden(str(path))
    reasons = small_golden.differing_tensors(golden)[:3] or small_golden.emptiness(golden)
    if reasons:
        return reasons
    written = small_golden.written_defaults(small_golden.variant(recipe)["model"])
    for to_defaults in (written, ()):  # a class may hand other defaults on to its base
        reasons = failures(path, to_defaults)
        if not reasons:
            keep(golden, small_golden.FOLDER / f"{recipe}.npz", to_defaults)
            break
        print(f"  {len(to_defaults)} arguments left to defaults: {'; '.join(reasons)}", flush=True)
    return reasons


def failures(path, to_defaults):
    from verification import small_golden

    try:
        rows = small_golden.check(path, to_defaults=to_defaults)
    except Exception as error:
        return [repr(error)]
    return [f"{row.stage} off by {row.error:.1e} ({row.note})" for row in rows if not row.passed]


def keep(golden, path, to_defaults):
    """Writes a golden that says which arguments of its recipe are left to defaults."""
    path.parent.mkdir(parents=True, exist_ok=True)
    meta = json.dumps({**golden.meta, "to_defaults": list(to_defaults)}).encode()
    np.savez_compressed(path, **golden.d, meta=np.frombuffer(meta, np.uint8))


if __name__ == "__main__":
    main()
