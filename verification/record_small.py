"""Records the small goldens of ``tests/golden/small``.

    python -m verification.record_small --peer PEER/bin/python --generator ../shared/oracle --name 'atss*'

The reference computes the small goldens that ``verification/small_goldens.csv`` names, by
``verification/peers/mmdet_small.py`` in an environment (``--peer``: its Python) with MMDetection 2.x. One is
kept only if the weights of both sides have the same names and shapes, if it has something to compare, and if
kdet passes it. Where rounding decides (docs/conditioning.md), gradients that the reference itself does not
keep under noise are left out, and then the next seed is tried.
"""

import argparse
import fnmatch
import json
import pathlib
import subprocess
import sys
import tempfile

import numpy as np

SEEDS = 4
MAX_UNSTEADY = 0.9  # share of the gradients that may be left out
BATCH = 12  # of which the reference makes goldens in one process


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--peer", required=True, help="Python of the environment that runs the reference")
    parser.add_argument("--generator", required=True, help="folder of make_golden.py")
    parser.add_argument("--again", action="store_true", help="those too that are there")
    parser.add_argument("--name", default="*", help="shell pattern of recipes")
    options = parser.parse_args()
    failed = record(options)
    print(f"{failed} could not be recorded")
    sys.exit(1 if failed else 0)


def record(options):
    """Number of small goldens that could not be recorded."""
    from verification import small_golden
    from verification.small_table import cost

    configs = small_golden.recorded()
    wanted = sorted(fnmatch.filter(configs, options.name), key=cost)
    configs = {recipe: configs[recipe] for recipe in wanted if options.again or not is_there(recipe)}
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


def is_there(recipe):
    from verification import small_golden

    return (small_golden.FOLDER / f"{recipe}.npz").exists()


def record_batch(configs, size, seed, options):
    """Recipes of ``{recipe: config}`` that cannot be recorded with this seed."""
    with tempfile.TemporaryDirectory() as folder:
        arguments = ["--generator", options.generator, "--size", *map(str, size), "--seed", str(seed)]
        peer = [options.peer, pathlib.Path(__file__).parent / "peers" / "mmdet_small.py", *arguments]

        def compute(out, configs, *more):
            command = [*peer, "--out", f"{folder}/{out}", *more, *configs]
            return subprocess.run(command, check=False, capture_output=True, text=True).stdout

        output = compute("once", configs.values())
        left = {recipe: adopt(recipe, file_of(folder, "once", configs[recipe])) for recipe in configs}
        left = {recipe: reasons for recipe, reasons in left.items() if reasons}
        unsteady = [configs[recipe] for recipe, (reason, *more) in left.items()
                    if not more and reason.startswith("gradients")]  # fmt: skip
        if unsteady:
            compute("twice", unsteady, "--noise", f"{folder}/once")
        for recipe in left:
            if configs[recipe] in unsteady:
                files = [file_of(folder, part, configs[recipe]) for part in ("once", "twice")]
                left[recipe] = adopt(recipe, *files)
        for recipe in configs:
            print(f"{recipe}, seed {seed}: {'; '.join(left.get(recipe, ())) or 'recorded'}", flush=True)
        if any("made none" in reason for reasons in left.values() for reason in reasons):
            print(output, flush=True)
    return [recipe for recipe, reasons in left.items() if reasons]


def file_of(folder, part, config):
    return pathlib.Path(folder) / part / (config.replace("/", "__") + ".npz")


def by_size(configs):
    """``{(h, w): [recipe]}``."""
    from verification import small_golden

    found = {}
    for recipe in configs:
        found.setdefault(small_golden.size(recipe), []).append(recipe)
    return found


def adopt(recipe, path, noisy=None):
    """Makes a golden of the reference the small golden of a recipe, or says why not: ``[str]``.

    Args:
        recipe: name.
        path: of what the reference made.
        noisy: the same with noise on the images. Gradients that it changes by more than a part of their
            tolerance are not kept.
    """
    from verification import small_golden
    from verification.golden import Golden

    if not path.exists():
        return ["the reference made none"]
    golden = Golden(str(path))
    reasons = small_golden.emptiness(golden)
    if reasons:
        return reasons
    if noisy:
        unsteady = small_golden.leave_out_unsteady(golden, Golden(str(noisy)))
        if unsteady > MAX_UNSTEADY:
            return [f"the reference does not keep {unsteady:.0%} of its gradients under noise"]
    written = small_golden.written_defaults(small_golden.variant(recipe)["model"])
    for to_defaults in (written, ()):  # a class may hand other defaults on to its base
        reasons = failures(golden, to_defaults)
        if not reasons:
            keep(golden, small_golden.FOLDER / f"{recipe}.npz", to_defaults)
        if not reasons or all(reason.startswith("gradients") for reason in reasons):
            break
    return reasons


def failures(golden, to_defaults):
    """Why kdet does not pass a golden: ``[str]``."""
    from verification import small_golden

    try:
        rows = small_golden.compare(golden, to_defaults)
    except Exception as error:
        return small_golden.differing_tensors(golden)[:3] or [repr(error)]
    return [f"{row.stage} off by {row.error:.1e} ({row.note})" for row in rows if not row.passed]


def keep(golden, path, to_defaults):
    """Writes a golden that says which arguments of its recipe are left to defaults."""
    path.parent.mkdir(parents=True, exist_ok=True)
    meta = json.dumps({**golden.meta, "to_defaults": list(to_defaults)}).encode()
    np.savez_compressed(path, **golden.d, meta=np.frombuffer(meta, np.uint8))


if __name__ == "__main__":
    main()
