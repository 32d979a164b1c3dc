"""What the section ``train`` of a recipe describes: settings, optimizer and schedule."""

import logging
from collections.abc import Mapping
from typing import Any

import keras
import tensorflow as tf

from kdet import schema
from kdet.building import build_part
from kdet.errors import ConfigError
from kdet.settings import OPTIMIZER, SCHEDULE, Ema, Train
from kdet.train.optimizers import LossScaleOptimizer
from kdet.train.schedules import scaled_rate

logger = logging.getLogger("kdet")

# on one device; recipes are made for two on each of eight
MANY_IMAGES = 4


def settings_of(config: Mapping[str, Any]) -> Train:
    """The section ``train`` of a recipe with its defaults.

    Raises:
        ConfigError: a key or value that it does not know.
    """
    section = {k: v for k, v in (config.get("train") or {}).items() if v is not None}
    found = [text for _, text in schema.section_problems(section, Train, ("train",))]
    if found:
        raise ConfigError("\n".join(found))
    return Train(**section)


def make_optimizer(settings: Train, steps_per_epoch: int) -> keras.optimizers.Optimizer:
    """The optimizer and schedule that a ``train`` section describes."""
    spec, section = dict(settings.optimizer or {}), ("train", "optimizer")
    rate, base = spec.pop("learning_rate", 0.02), spec.pop("base_batch_size", None)
    batch_size = settings.batch_size * settings.accumulate
    if base:
        rate = scaled_rate(rate, batch_size, base)
        logger.info("Learning rate %g for a batch of %d.", rate, batch_size)
        devices = tf.distribute.get_strategy().num_replicas_in_sync
        if settings.batch_size > MANY_IMAGES * devices:
            logger.info(
                "Each device holds %d images at a time. With --set train.batch_size=%d a step takes less "
                "memory and time, and the learning rate follows.",
                settings.batch_size // devices,
                2 * devices,
            )
    updates = steps_per_epoch / settings.accumulate
    given = {"learning_rate": rate, "steps_per_epoch": updates, "epochs": settings.epochs}
    schedule = build_part(settings.schedule or {}, SCHEDULE, ("train", "schedule"), given)
    given = {"learning_rate": schedule, "global_clipnorm": settings.clip}
    if settings.ema is not None:
        ema = Ema(**settings.ema)
        # the end of one call of `fit` is not the end of the run
        given.update(use_ema=True, ema_momentum=ema.momentum, ema_finalize=False)
        given.update(ema_ramp_steps=ema.ramp_steps)
    if settings.accumulate > 1:
        given["gradient_accumulation_steps"] = settings.accumulate
    optimizer = build_part(spec, OPTIMIZER, section, given)
    if settings.precision != "mixed_float16":
        return optimizer
    if settings.loss_scale == "dynamic":
        return LossScaleOptimizer(optimizer)
    # A fixed scale never grows; an overflow still halves it and skips the step.
    return LossScaleOptimizer(optimizer, initial_scale=settings.loss_scale, dynamic_growth_steps=2**31 - 1)
