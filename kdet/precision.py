"""Which dtype policies the processor at hand is quick in."""

import functools
import logging
import pathlib

import tensorflow as tf

logger = logging.getLogger("kdet")
_CPUINFO = pathlib.Path("/proc/cpuinfo")
# what Linux calls units for products in bfloat16, on x86 and on ARM
_UNITS = frozenset({"avx512_bf16", "amx_bf16", "bf16"})


def quick_policy(policy: str | None) -> str | None:
    """The dtype policy to compute in where ``policy`` was asked for.

    A CPU without units for bfloat16 converts every number to float32 and back, which takes longer than
    float32 alone: there "float32" stands in for "mixed_bfloat16", and the log says so once.

    Args:
        policy: Keras dtype policy, None for the current one.
    """
    if policy != "mixed_bfloat16" or has_bfloat16():
        return policy
    _say_once()
    return "float32"


@functools.cache
def has_bfloat16() -> bool:
    """Whether there is a GPU or TPU, or a CPU with units for bfloat16; True where nobody can tell."""
    if any(tf.config.list_physical_devices(kind) for kind in ("GPU", "TPU")):
        return True
    try:
        lines = _CPUINFO.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:  # not Linux
        return True
    found = [line.partition(":")[2].split() for line in lines if line.startswith(("flags", "Features"))]
    return not found or not _UNITS.isdisjoint(found[0])


@functools.cache
def _say_once() -> None:
    logger.warning(
        "This processor has no units for bfloat16 and would be slower in it: mixed_bfloat16 computes in "
        "float32 here."
    )
