"""Samplers: which assigned priors take part in the loss."""

from kdet.samplers.balanced import BalancedSampler
from kdet.samplers.base import Sampler
from kdet.samplers.random import AllSampler, OHEMSampler, RandomSampler
from kdet.samplers.score_hlr import ScoreHLRSampler

__all__ = [
    "Sampler",
    "AllSampler",
    "BalancedSampler",
    "OHEMSampler",
    "RandomSampler",
    "ScoreHLRSampler",
]
