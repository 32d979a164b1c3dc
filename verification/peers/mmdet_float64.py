"""Makes a golden again in float64.

    PEER/bin/python verification/peers/mmdet_float64.py --generator DIR --out FOLDER GOLDEN.npz ...

Runs in the environment of PyTorch and MMDetection 2.x; DIR holds the program that made the goldens
(``make_golden.py``). Weights, images and settings are those of the golden; whatever the reference computes
is float64, but for the order of boxes in its NMS, whose kernel knows float32 alone. ``check_parity.py
--float64`` holds kdet against the results.
"""

import argparse
import functools
import pathlib
import sys
import time

import numpy as np


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("goldens", nargs="+", type=pathlib.Path)
    parser.add_argument("--generator", required=True, help="folder of make_golden.py")
    parser.add_argument("--out", required=True, type=pathlib.Path, help="folder of the new goldens")
    options = parser.parse_args()
    sys.path.insert(0, options.generator)
    compute_in_float64()
    options.out.mkdir(parents=True, exist_ok=True)
    for path in options.goldens:
        start = time.time()
        meta = remake(path, options.out / path.name)
        print(f"{path.stem}: training {meta['train']['status']}, {time.time() - start:.0f} s", flush=True)


def remake(path, out):
    """Computes what the golden ``path`` holds in float64 and writes it to ``out``; gives its meta data."""
    import common
    import make_golden
    from golden import Golden

    golden = Golden(str(path))
    meta, arrays, full, _ = make_golden.compute(
        common.find_config(golden.meta["config"]),
        golden.meta["seed"],
        (golden.meta["input"]["h"], golden.meta["input"]["w"]),
        adjust=golden.meta["adjust"],
        log=print_errors,
    )
    make_golden.MAX_VALUES, make_golden.BUDGET = golden.meta["max_values"], float("inf")  # as many samples
    make_golden.save(str(out), meta, arrays, full)
    return meta


def print_errors(text, *_):
    if "Traceback" in text or "Error" in text:
        print(text, file=sys.stderr, flush=True)


def compute_in_float64():
    """Makes float64 what PyTorch and MMDetection, which is imported afterwards, would make float32."""
    import torch

    single, from_numpy = torch.float32, torch.from_numpy
    torch.set_num_threads(1)
    torch.set_default_dtype(torch.float64)
    torch.float = torch.float32 = torch.float64
    torch.Tensor.float = torch.Tensor.double
    torch.from_numpy = lambda x: from_numpy(x.astype(np.float64) if x.dtype == np.float32 else x)

    import compat  # noqa: F401  patches MMDetection for current versions
    import mmcv.ops  # noqa: F401
    from mmdet.models.dense_heads.base_dense_head import BaseDenseHead

    kernels = sys.modules["mmcv.ops.nms"]
    for op in (kernels.NMSop, kernels.SoftNMSop):
        op.forward = staticmethod(given_as(single, op.forward))
    BaseDenseHead.forward_train = with_stored_proposals(BaseDenseHead.forward_train)


def given_as(dtype, function):
    """``function`` of a context and float tensors, which it gets as ``dtype``; float results as float64."""
    import torch

    @functools.wraps(function)
    def call(context, *values):
        values = [v.to(dtype) if torch.is_tensor(v) and v.is_floating_point() else v for v in values]
        found = function(context, *values)
        parts = found if isinstance(found, tuple) else (found,)
        parts = tuple(p.double() if p.is_floating_point() else p for p in parts)
        return parts if isinstance(found, tuple) else parts[0]

    return call


def with_stored_proposals(forward_train):
    """Proposals rounded to what a golden stores, so that the second stage trains on the same."""

    @functools.wraps(forward_train)
    def call(*arguments, **named):
        found = forward_train(*arguments, **named)
        if isinstance(found, tuple):
            losses, proposals = found
            stored = [p.detach().numpy().astype(np.float32) for p in proposals]
            found = losses, [p.new_tensor(s.astype(np.float64)) for p, s in zip(proposals, stored)]
        return found

    return call


if __name__ == "__main__":
    main()
