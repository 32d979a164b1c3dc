"""Records ten steps of training of tiny models: ``python -m verification.record_steps [NAME...]``.

Writes ``tests/golden/steps/NAME.npz`` of all or the named cases of ``verification.steps``: kdet's numbers,
so the goldens of these models must pass before (``verification.check_parity``). A case whose resumed run
differs from the straight one is not recorded, and neither is one that noise in the last bits of the weights
moves: on another processor it would miss.
"""

import pathlib
import sys

import numpy as np

from verification import steps

FOLDER = pathlib.Path(__file__).parents[1] / "tests" / "golden" / "steps"
# relative to the largest value of a run; rounding grows over ten steps
NOISES = 3  # runs with noise
TOLERANCE = {"float32": 2e-3, "mixed_float16": 2e-2}  # float16 has 11 bits


def difference(found, wanted):
    """The largest difference of two runs' numbers, each relative to its largest value, and its name."""
    if found.keys() != wanted.keys():
        raise ValueError(f"One run has {sorted(found.keys() ^ wanted.keys())}, the other has not.")
    errors = {
        name: float(np.abs(found[name] - wanted[name]).max() / max(np.abs(wanted[name]).max(), 1e-9))
        for name in wanted
    }
    worst = max(errors, key=errors.get)
    return errors[worst], worst


def tolerance(case):
    """The largest difference that a run of a case may have."""
    return TOLERANCE[case.train.get("precision", "float32")]


def main(names):
    """Records the cases ``names``; the number of those that were refused."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    refused = 0
    for name in names or steps.CASES:
        case = steps.CASES[name]
        found = steps.straight(case)
        error, worst = difference(steps.resumed(case), found)
        noise, moved = max(difference(steps.straight(case, seed), found) for seed in range(NOISES))
        if error > tolerance(case) or noise > tolerance(case) / 2:
            print(f"{name}: not recorded; resumed {error:.1e} off in {worst}, noise {noise:.1e} in {moved}")
            refused += 1
            continue
        path, before = FOLDER / f"{name}.npz", ""
        if path.exists():
            with np.load(path) as old:
                before = "; {:.1e} from the old record in {}".format(*difference(found, dict(old)))
        np.savez_compressed(path, **found)
        print(f"{name}: recorded{before}", flush=True)
    return refused


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
