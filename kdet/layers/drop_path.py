"""Stochastic depth (Huang et al., 2016, https://arxiv.org/abs/1603.09382)."""

from collections.abc import Sequence

import numpy as np

from kdet.layers import context
from kdet.typing import Tensor


def drop_path(x: Tensor, rate: float) -> Tensor:
    """The residual ``x`` of a block, left out for some of the images while the model trains.

    What is dropped follows from the seed of the training step; outside a training step (``fit``,
    ``compute_losses``) nothing is.

    Args:
        x: ``[B,...]``.
        rate: share of the images whose residual is 0; the others' are scaled up by ``1 / (1 - rate)``.
    """
    masks = context.dropped_paths()
    return x if masks is None or not rate else masks.drop_images(x, rate)


def drop_path_rates(rate: float, depths: Sequence[int]) -> list[list[float]]:
    """Rates of all blocks of a backbone, which rise evenly from 0 to ``rate``.

    Args:
        rate: of the last block.
        depths: number of blocks of every stage.

    Returns:
        Rates by stage.
    """
    rates = np.linspace(0.0, rate, sum(depths)).tolist()
    starts = np.cumsum([0, *depths])
    return [rates[start : start + depth] for start, depth in zip(starts, depths)]
