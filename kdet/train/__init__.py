"""Training: optimizers with the published recipes' rule, schedules, the engine around ``model.fit``."""

from kdet.train.averages import averaged
from kdet.train.monitors import EarlyStopping, SaveBest
from kdet.train.optimizers import SGD, AdamW
from kdet.train.schedules import ConstantRate, CosineDecay, PolynomialDecay, Schedule, StepDecay

__all__ = [
    "SGD",
    "AdamW",
    "ConstantRate",
    "CosineDecay",
    "EarlyStopping",
    "PolynomialDecay",
    "SaveBest",
    "Schedule",
    "StepDecay",
    "averaged",
]
