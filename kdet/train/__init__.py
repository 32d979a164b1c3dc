"""Training: optimizers with the published recipes' rule, schedules, the engine around ``model.fit``."""

from kdet.train.averages import averaged
from kdet.train.monitors import EarlyStopping, SaveBest
from kdet.train.optimizers import SGD, AdamW
from kdet.train.phases import LateLosses
from kdet.train.schedules import (
    ConstantRate,
    CosineDecay,
    CosineThenFlat,
    FlatCosine,
    PolynomialDecay,
    Schedule,
    StepDecay,
)

__all__ = [
    "SGD",
    "AdamW",
    "ConstantRate",
    "CosineDecay",
    "CosineThenFlat",
    "FlatCosine",
    "EarlyStopping",
    "LateLosses",
    "PolynomialDecay",
    "SaveBest",
    "Schedule",
    "StepDecay",
    "averaged",
]
