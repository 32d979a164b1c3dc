"""What the programs that make goldens again in float64 share; runs in the environment of PyTorch."""

import argparse
import pathlib
import sys
import time

import numpy as np


def options_of(description, generator):
    """The command line of such a program; ``generator`` is the file that made the goldens."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("goldens", nargs="+", type=pathlib.Path)
    parser.add_argument("--generator", required=True, help=f"folder of {generator}")
    parser.add_argument("--out", required=True, type=pathlib.Path, help="folder of the new goldens")
    return parser.parse_args()


def remake_all(options, remake):
    """Calls ``remake(path, out)``, which gives the meta data, for every golden."""
    options.out.mkdir(parents=True, exist_ok=True)
    for path in options.goldens:
        start = time.time()
        meta = remake(path, options.out / path.name)
        print(f"{path.stem}: training {meta['train']['status']}, {time.time() - start:.0f} s", flush=True)


def remake_third(path, out, compute):
    """Computes a golden of format 3 in float64 and writes it to ``out``; gives its meta data.

    Args:
        path, out: files.
        compute: of the golden's meta data, seed and size, and the keywords of the generator's ``compute``.
    """
    import core3
    from golden3 import Golden

    golden = Golden(str(path))
    meta, arrays, full = compute(
        golden.meta,
        golden.meta["seed"],
        (golden.meta["input"]["h"], golden.meta["input"]["w"]),
        adjust=golden.meta["adjust"],
        skip_train=golden.meta["train"]["status"] == "skipped",
        log=print_errors,
    )
    core3.MAX_VALUES = golden.meta["max_values"]  # as many samples
    core3.save(str(out), meta, arrays, full, budget=float("inf"))
    return meta


def print_errors(text, *_):
    if "Traceback" in text or "Error" in text:
        print(text, file=sys.stderr, flush=True)


def make_torch_double():
    """Makes float64 what PyTorch would make float32; gives the float32 of before."""
    import torch

    single, from_numpy = torch.float32, torch.from_numpy
    torch.set_num_threads(1)
    torch.set_default_dtype(torch.float64)
    torch.float = torch.float32 = torch.float64
    torch.Tensor.float = torch.Tensor.double
    torch.from_numpy = lambda x: from_numpy(x.astype(np.float64) if x.dtype == np.float32 else x)
    return single
