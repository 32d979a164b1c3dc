"""Records the small goldens of ``tests/golden/small``.

    python -m verification.record_small --peer PEER/bin/python --generator ../shared/oracle --name 'atss*'

The reference computes the small goldens that ``verification/small_goldens.csv`` names, by
``verification/peers/mmdet_small.py`` in an environment (``--peer``: its Python) with MMDetection 2.x, with
several seeds and with noise on the images. One is kept only if the weights of both sides have the same names
and shapes, if it has something to compare, and if kdet passes it. Where rounding decides
(docs/conditioning.md), gradients that the reference itself does not keep under the noise are left out; the
seeds that leave out the fewest are tried first. Why one could not be recorded is kept in
``verification/results/small_missing.json``.
"""

import argparse
import fnmatch
import json
import pathlib
import subprocess
import sys
import tempfile
import time

import numpy as np

SEEDS = (0, 4)
ROUND = 1  # seeds that the reference computes at a time
ENOUGH = 0.15  # share of the gradients that may be left out before further seeds are looked at
MAX_UNSTEADY = 0.8  # before there is none rather than a weak one
BATCH = 4  # recipes of which the reference makes goldens in one process


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--peer", required=True, help="Python of the environment that runs the reference")
    parser.add_argument("--generator", required=True, help="folder of make_golden.py")
    parser.add_argument("--again", action="store_true", help="those too that are there")
    parser.add_argument("--name", default=["*"], nargs="+", help="shell patterns of recipes")
    parser.add_argument("--seeds", type=int, nargs=2, default=SEEDS, metavar=("FROM", "TO"))
    parser.add_argument("--work", type=pathlib.Path, help="folder where all that the reference makes stays")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        options.work = options.work or pathlib.Path(temporary)
        missing = record(options)
    print(f"{len(missing)} could not be recorded")
    sys.exit(1 if missing else 0)


def record(options):
    """``{recipe: reason}`` of the small goldens that could not be recorded."""
    from verification import small_golden
    from verification.small_table import cost

    configs = small_golden.recorded()
    wanted = {recipe for pattern in options.name for recipe in fnmatch.filter(configs, pattern)}
    wanted = sorted(wanted, key=cost)
    configs = {recipe: configs[recipe] for recipe in wanted if options.again or not is_there(recipe)}
    missing = {}
    for made_with, recipes in by_settings(configs).items():
        for start in range(0, len(recipes), BATCH):
            batch = {recipe: configs[recipe] for recipe in recipes[start : start + BATCH]}
            found = record_batch(batch, made_with, options)
            small_golden.note_missing(found)
            missing.update(found)
    return missing


def is_there(recipe):
    from verification import small_golden

    return (small_golden.FOLDER / f"{recipe}.npz").exists()


def by_settings(configs):
    """``{arguments of mmdet_small.py: [recipe]}``."""
    from verification import small_golden

    found = {}
    for recipe in configs:
        made_with = ["--size", *map(str, small_golden.size(recipe))]
        most = small_golden.proposals(recipe)
        made_with += ["--proposals", *map(str, most)] if most else []
        found.setdefault(tuple(made_with), []).append(recipe)
    return found


def record_batch(configs, made_with, options):
    """``{recipe: reason}`` of those of ``{recipe: config}`` that could not be recorded with any seed."""
    peer = [options.peer, pathlib.Path(__file__).parent / "peers" / "mmdet_small.py", "--noise", *made_with]
    peer += ["--generator", options.generator, "--out", options.work]
    first, end = options.seeds
    left = {recipe: {} for recipe in configs}  # {recipe: {seed not tried yet: (share left out, golden)}}
    reasons = {}
    for start in range(first, end, ROUND):
        seeds = list(map(str, range(start, min(start + ROUND, end))))
        command = [*peer, *(configs[recipe] for recipe in left), "--seeds", *seeds]
        ran = subprocess.run(command, check=False, capture_output=True, text=True)
        if ran.returncode:
            raise RuntimeError(f"The reference failed: {ran.stderr}")
        most = ENOUGH if start + ROUND < end else MAX_UNSTEADY
        for recipe in list(left):
            for seed in seeds:
                file = options.work / f"seed{seed}" / (configs[recipe].replace("/", "__") + ".npz")
                said, candidate = read(file)
                said = said or f"noise changes {candidate[0]:.0%} of the gradients"
                print(f"{recipe}, seed {seed}: {said}", flush=True)
                reasons.setdefault(recipe, said)
                if candidate:
                    left[recipe][seed] = candidate
                elif not file.exists():
                    print(ran.stdout, flush=True)
            reasons[recipe] = adopt_one(recipe, left[recipe], most, reasons[recipe])
            if not reasons[recipe]:
                del left[recipe]
        if not left:
            break
    return {recipe: reasons[recipe] for recipe in left}


def read(path):
    """``(what a golden that the reference made lacks or "", (share left out, Golden) or None)``.

    Gradients that noise on the images changes by more than a part of their tolerance are left out.
    """
    from verification import small_golden
    from verification.golden import Golden

    noisy = path.parent / "noisy" / path.name
    if not noisy.exists():
        return "the reference made none", None
    golden = small_golden.Nudged(str(path))
    reasons = small_golden.emptiness(golden)
    if reasons:
        return "; ".join(reasons), None
    return "", (small_golden.leave_out_unsteady(golden, Golden(str(noisy))), golden)


def adopt_one(recipe, candidates, most, reason):
    """Makes one golden of the reference the small golden of a recipe, or says why not: ``str``.

    Args:
        recipe: name.
        candidates: ``{seed: (share left out, Golden)}``; those that were tried are taken out.
        most: share of the gradients that may be left out.
        reason: why there is none so far.
    """
    from verification import small_golden

    written = small_golden.written_defaults(small_golden.variant(recipe)["model"])
    for seed in sorted(candidates, key=lambda seed: candidates[seed][0]):
        if candidates[seed][0] > most:
            break
        _, golden = candidates.pop(seed)
        for to_defaults in (written, ()):  # a class may hand other defaults on to its base
            start = time.process_time()
            reasons = failures(golden, to_defaults)
            if not reasons:
                keep(golden, small_golden.FOLDER / f"{recipe}.npz", to_defaults)
                took = time.process_time() - start
                print(f"{recipe}, seed {seed}: recorded; its test takes {took:.0f} s of a core", flush=True)
                return ""
            reason = f"seed {seed}: {'; '.join(reasons)}"
            print(f"{recipe}, {reason}", flush=True)
            if all(reason.startswith("gradients") for reason in reasons):
                break
    return reason


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
