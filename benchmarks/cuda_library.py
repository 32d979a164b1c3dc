"""kdet's CUDA kernels as functions of PyTorch's tensors, through ctypes."""

import ctypes

import torch

KINDS = {"l": ctypes.c_int64, "i": ctypes.c_int, "f": ctypes.c_float, "b": ctypes.c_bool}
TYPES = {torch.float32: 0, torch.float16: 1, torch.bfloat16: 2}
MOST_LEVELS = 16  # kMostLevels, kMostAttentionLevels
NULL = ctypes.c_void_p()


def struct(kinds, *values):
    """A C struct of the given `KINDS`; an upper-case letter is an array for levels."""
    fields = [
        (f"field{k}", KINDS[kind.lower()] * MOST_LEVELS if kind.isupper() else KINDS[kind])
        for k, kind in enumerate(kinds)
    ]
    made = type("Struct", (ctypes.Structure,), {"_fields_": fields})()
    for (name, kind), value in zip(fields, values, strict=True):
        setattr(made, name, kind(*value) if isinstance(value, (list, tuple)) else value)
    return ctypes.byref(made)


def pointer(value):
    if isinstance(value, torch.Tensor):
        return ctypes.c_void_p(value.data_ptr())
    if isinstance(value, list):
        return (ctypes.c_void_p * len(value))(*[t.data_ptr() for t in value])
    return value


class Kernels:
    """``kernels.roi_align(parameters, ...)`` calls ``kdet_cuda_roi_align`` on PyTorch's stream."""

    def __init__(self, path, dtype):
        self.library = ctypes.CDLL(path)
        self.type = TYPES[dtype]

    def __getattr__(self, name):
        function = getattr(self.library, f"kdet_cuda_{name}")

        def call(*arguments):
            stream = ctypes.c_void_p(torch.cuda.current_stream().cuda_stream)
            error = function(*map(pointer, arguments), stream)
            if error:
                raise RuntimeError(f"{name}: CUDA error {error}")

        return call
