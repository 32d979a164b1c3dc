"""Training: optimizers with the published recipes' rule, schedules, the engine around ``model.fit``."""

from kdet.train.optimizers import SGD, AdamW
from kdet.train.schedules import Schedule

__all__ = ["SGD", "AdamW", "Schedule"]
