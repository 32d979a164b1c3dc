"""Makes a golden again in float64.

    PEER/bin/python verification/peers/mmdet_float64.py --generator DIR --out FOLDER GOLDEN.npz ...

Runs in the environment of PyTorch and MMDetection; DIR holds the program that made the goldens
(``make_golden.py`` for 2.x, ``make_golden3.py`` for 3.x). Weights, images and settings are those of the
golden; whatever the reference computes is float64, but for the order of boxes in its NMS, whose kernel knows
float32 alone. ``check_parity.py --float64`` holds kdet against the results.
"""

import functools
import pathlib
import sys

import numpy as np
from in_float64 import make_torch_double, options_of, print_errors, remake_all, remake_third


def main():
    options = options_of(__doc__, "make_golden.py or make_golden3.py")
    sys.path.insert(0, options.generator)
    third = (pathlib.Path(options.generator) / "make_golden3.py").exists()
    compute_in_float64(third)
    remake_all(options, remake_of_third if third else remake)


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


def remake_of_third(path, out):
    """As ``remake``, for goldens of MMDetection 3.x."""
    import make_golden3

    def compute(meta, *args, **kwargs):
        return make_golden3.compute(make_golden3.find_config(meta["config"]), *args, **kwargs)

    return remake_third(path, out, compute)


def compute_in_float64(third):
    """Makes float64 what PyTorch and MMDetection, which is imported afterwards, would make float32."""
    single = make_torch_double()
    if third:
        import compat3  # noqa: F401  patches MMDetection for current versions
        import mmcv.ops
    else:
        import compat  # noqa: F401
        import mmcv.ops  # noqa: F401
    from mmdet.models.dense_heads.base_dense_head import BaseDenseHead

    kernels = sys.modules["mmcv.ops.nms"]
    for op in (kernels.NMSop, kernels.SoftNMSop):
        op.forward = staticmethod(given_as(single, op.forward))
    if not third:
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
