"""Makes a golden of a detector of Transformers again in float64.

    PEER/bin/python verification/peers/transformers_float64.py --generator DIR --out FOLDER GOLDEN.npz ...

Runs in the environment of PyTorch and Transformers; DIR holds the program that made the goldens
(``make_golden_hf.py``). Weights, images and settings are those of the golden. ``check_parity.py --float64``
holds kdet against the results.
"""

import sys

from in_float64 import make_torch_double, options_of, remake_all, remake_third


def main():
    options = options_of(__doc__, "make_golden_hf.py")
    sys.path.insert(0, options.generator)
    make_torch_double()  # before Transformers is imported
    remake_all(options, remake)


def remake(path, out):
    import make_golden_hf

    return remake_third(
        path, out, lambda meta, *args, **kwargs: make_golden_hf.compute(meta["name"], *args, **kwargs)
    )


if __name__ == "__main__":
    main()
