"""Training a recipe: strategy, data, model, optimizer and callbacks around ``model.fit``."""

import contextlib
import logging
import pathlib
import re

import keras
import tensorflow as tf

from kdet import data as data_room
from kdet import zoo
from kdet.class_names import require_same
from kdet.data import faults
from kdet.overrides import class_count
from kdet.train import facts
from kdet.train.callbacks import (
    EpochLog,
    EvaluateDetections,
    optimizer_steps,
    show_images,
)
from kdet.train.checkpoints import Checkpoints, SaveCheckpoints
from kdet.train.optimizers import SGD, AdamW, LossScaleOptimizer
from kdet.train.schedules import Schedule, scaled_rate
from kdet.train.strategy import make_strategy, worker
from kdet.train.tensorboard import EventWriter, TensorBoardScalars

logger = logging.getLogger("kdet")

DEFAULTS = {
    "epochs": 12,
    "batch_size": 2,
    "clip": None,
    "precision": "float32",
    "loss_scale": "dynamic",
    "initial": None,
    "seed": 0,
    "log_every": 50,
    "save_every": 0,
    "evaluate_every": 1,
}
OPTIMIZERS = {"SGD": SGD, "AdamW": AdamW}


def train(config, work_dir, strategy="auto", resume=False, callbacks=(), verbose=1):
    """Trains the model of a recipe.

    Writes into ``work_dir``: ``config.yaml`` (the resolved recipe), ``checkpoints/`` (the newest two, for
    ``resume``), ``log.jsonl`` (a line per epoch), ``tensorboard/``, and ``final.weights.h5``.

    Args:
        config: :class:`kdet.config.Config` with the sections ``model``, ``data`` and ``train``.
        work_dir: folder; created.
        strategy: a ``tf.distribute.Strategy``, or a name for :func:`kdet.train.strategy.make_strategy`.
        resume: continue from the newest checkpoint in ``work_dir``, at the very step it was written at.
        callbacks: further Keras callbacks.
        verbose: as in ``fit``.

    Returns:
        ``(model, history)``; ``history`` is a list with the figures of every epoch of this call.

    Raises:
        ValueError: the data do not fit the model or the strategy; ``work_dir`` holds another run.
        FloatingPointError: a loss became NaN or infinite; the message names it.
    """
    settings = {**DEFAULTS, **{k: v for k, v in config.get("train", {}).items() if v is not None}}
    for key in ("epochs", "batch_size", "log_every"):
        if settings[key] < 1:
            raise ValueError(f"train.{key} must be at least 1; got {settings[key]}.")
    strategy = make_strategy(strategy) if isinstance(strategy, str) else strategy
    index, workers = worker()
    keras.utils.set_random_seed(settings["seed"])
    keras.config.set_dtype_policy(settings["precision"])
    run = _Run(config, settings, pathlib.Path(work_dir), strategy, index, workers)
    run.prepare_folder(resume)
    with strategy.scope():
        model = config.build("model")
        if settings["initial"] and not (resume and run.checkpoints.steps()):
            zoo.fill(model, config, settings["initial"], partial=True)
        if model.teacher_name is not None:
            model.attach_teacher(zoo.load(model.teacher_name))
        model.sampling_seed = settings["seed"]
        model.compile(optimizer=run.optimizer())
    if model.class_names is None and model.num_classes is not None:
        model.class_names = run.pipeline.class_names
    step = run.checkpoints.restore(model, run.others) if resume else 0
    if resume and not step:
        logger.warning("%s holds no checkpoint to resume: the run starts at its beginning.", run.folder)
    if step >= settings["epochs"] * run.steps_per_epoch:
        logger.warning(
            "Nothing is left to train: the run in %s is complete at step %d (%d epochs of %d steps). A "
            "larger train.epochs goes on from there.",
            run.folder, step, settings["epochs"], run.steps_per_epoch,
        )  # fmt: skip
    elif step:
        logger.info("Resuming at step %d (epoch %d).", step, step // run.steps_per_epoch + 1)
    history = run.fit(model, step, list(callbacks), verbose)
    if run.is_chief:
        model.save_weights(run.folder / "final.weights.h5", overwrite=True)
        facts.write(run.folder / "final.weights.h5", run.facts)
    return model, history


class _Run:
    """What one call of :func:`train` works with."""

    def __init__(self, config, settings, folder, strategy, index, workers):
        self.config, self.settings, self.strategy = config, settings, strategy
        self.shard, self.is_chief = (index, workers), index == 0
        # Every worker writes its own files: reading synchronised statistics needs all of them.
        folders = [folder, *(folder / f"worker_{i}" for i in range(1, workers))]
        self.folder = folders[index]
        self.pipeline = load_data(config, "train", settings["batch_size"], settings["seed"])
        self.facts = facts.facts_of(self.pipeline, settings["seed"])
        every = [Checkpoints(one / "checkpoints", run=self.facts) for one in folders]
        self.checkpoints, self.others = every[index], every[:index] + every[index + 1 :]
        self.steps_per_epoch = self.pipeline.steps_per_epoch
        logger.info("%s", self.pipeline.report())

    def prepare_folder(self, resume):
        self.folder.mkdir(parents=True, exist_ok=True)
        if self.checkpoints.steps() and not resume:
            raise ValueError(
                f"{self.folder} already holds checkpoints of a run: resume it (--resume), or choose another "
                "work directory."
            )
        self.config.save(self.folder / "config.yaml")

    def optimizer(self):
        return make_optimizer(self.settings, self.steps_per_epoch)

    def dataset(self, skip):
        """The distributed training data from the global step ``skip`` on."""
        if self.strategy.num_replicas_in_sync == 1:
            return self.pipeline.dataset(skip=skip)
        local = self.strategy.num_replicas_in_sync // self.shard[1]

        def of_worker(context):
            return self.pipeline.dataset(skip=skip, shard=self.shard, split=local)

        return self.strategy.distribute_datasets_from_function(of_worker)

    def fit(self, model, step, callbacks, verbose):
        """Trains from global step ``step`` to the end; first finishes a begun epoch."""
        history, epochs = [], self.settings["epochs"]
        log = EpochLog(self.folder / "log.jsonl", history)
        writer = EventWriter(self.folder / "tensorboard")
        evaluation = self.evaluation(model, writer)
        epoch, inside = divmod(step, self.steps_per_epoch)
        parts = [(epoch, epoch + 1, self.steps_per_epoch - inside)] if inside else []
        if epoch + len(parts) < epochs:
            parts.append((epoch + len(parts), epochs, self.steps_per_epoch))
        for first, last, steps in parts:
            own = [
                SaveCheckpoints(self.checkpoints, step, self.settings["save_every"]),
                *evaluation,
                TensorBoardScalars(writer, step, self.settings["log_every"]),
                log,
            ]
            with named_failure(model):
                model.fit(
                    self.dataset(step),
                    initial_epoch=first,
                    epochs=last,
                    steps_per_epoch=steps,
                    callbacks=[*own, *callbacks],
                    verbose=verbose if self.is_chief else 0,
                    shuffle=False,
                )
            step += (last - first) * steps
            if model.stop_training:
                break
        return history

    def evaluation(self, model, writer):
        """The callbacks that score the validation data, if the recipe has any."""
        every = self.settings["evaluate_every"] or 0
        if not every or not self.config.get("data", {}).get("val"):
            return []
        per_replica = max(1, self.settings["batch_size"] // self.strategy.num_replicas_in_sync)
        pipeline = load_data(self.config, "val", per_replica)
        require_same(self.pipeline.class_names, pipeline.class_names, "data.train", "data.val")
        return [
            EvaluateDetections(
                pipeline,
                metrics=self.config["data"].get("metrics", ["bbox"]),
                every=every,
                last_epoch=self.settings["epochs"],
                images=lambda inputs, detections: writer.images(
                    "val/detections",
                    show_images(inputs, detections, pipeline.class_names),
                    optimizer_steps(model),
                ),
            )
        ]


def load_data(config, split, batch_size, seed=0):
    """The pipeline of ``data.<split>`` of a recipe; its classes must be as many as the model's."""
    return data_room.load(
        data_room.section(config, split),
        training=split == "train",
        batch_size=batch_size,
        seed=seed,
        num_classes=class_count(config["model"]),
    )


def make_optimizer(settings, steps_per_epoch):
    """The optimizer and schedule that a ``train`` section describes."""
    spec = {"type": "SGD", **settings.get("optimizer", {})}
    kind = spec.pop("type")
    if kind not in OPTIMIZERS:
        raise ValueError(f"train.optimizer.type must be one of {', '.join(OPTIMIZERS)}; got {kind!r}.")
    rate, base = spec.pop("learning_rate", 0.02), spec.pop("base_batch_size", None)
    if base:
        rate = scaled_rate(rate, settings["batch_size"], base)
        logger.info("Learning rate %g for a batch of %d.", rate, settings["batch_size"])
    schedule = Schedule(rate, steps_per_epoch, settings["epochs"], **settings.get("schedule", {}))
    optimizer = OPTIMIZERS[kind](learning_rate=schedule, global_clipnorm=settings["clip"], **spec)
    if settings["precision"] != "mixed_float16":
        return optimizer
    if settings["loss_scale"] == "dynamic":
        return LossScaleOptimizer(optimizer)
    # A fixed scale never grows; an overflow still halves it and skips the step.
    return LossScaleOptimizer(optimizer, initial_scale=settings["loss_scale"], dynamic_growth_steps=2**31 - 1)


@contextlib.contextmanager
def named_failure(model):
    """Turns TensorFlow's reports into errors for people: a FloatingPointError that names the loss that is
    not finite, a reader's error as it was raised."""
    try:
        with faults.raised():
            yield
    except tf.errors.InvalidArgumentError as error:
        found = re.search(r"(\w+) is NaN or infinite", str(error))
        if not found:
            raise
        name = found.group(1)
        step = optimizer_steps(model)
        raise FloatingPointError(
            f"Training stopped after {step} optimizer steps: {name} is NaN or infinite (learning rate "
            f"{float(model.optimizer.learning_rate):g}). The weights are those of the step before. Lower "
            "train.optimizer.learning_rate, lengthen train.schedule.warmup_steps, set train.clip, or look "
            "for broken boxes with kdet browse."
        ) from error
