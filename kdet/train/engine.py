"""Training a recipe: strategy, data, model, optimizer and callbacks around ``model.fit``."""

import contextlib
import logging
import pathlib
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

from kdet import data as data_room
from kdet import schema, zoo
from kdet.building import build_part
from kdet.class_names import require_same
from kdet.config import Config
from kdet.data import faults
from kdet.detectors import Detector
from kdet.errors import ConfigError
from kdet.overrides import class_count
from kdet.settings import CALLBACKS, OPTIMIZER, SCHEDULE, Ema, Train
from kdet.train import facts
from kdet.train.averages import use_averages
from kdet.train.callbacks import (
    EpochLog,
    EvaluateDetections,
    lines_before,
    optimizer_steps,
    show_images,
)
from kdet.train.checkpoints import Checkpoints, SaveCheckpoints
from kdet.train.interrupts import Interrupts, StopOnSignal
from kdet.train.monitors import Monitor, SaveBest
from kdet.train.optimizers import LossScaleOptimizer
from kdet.train.schedules import scaled_rate
from kdet.train.strategy import make_strategy, worker
from kdet.train.tensorboard import EventWriter, TensorBoardScalars
from kdet.typing import PathLike

logger = logging.getLogger("kdet")


def train(
    config: Any,
    work_dir: PathLike,
    strategy: Any = "auto",
    resume: bool = False,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    verbose: int = 1,
) -> tuple[Any, list[dict[str, Any]]]:
    """Trains the model of a recipe.

    Writes into ``work_dir``: ``config.yaml`` (the resolved recipe), ``checkpoints/`` (the newest two, for
    ``resume``), ``log.jsonl`` (a line per epoch), ``tensorboard/``, ``final.weights.h5`` (with ``train.ema``
    the averages), and with ``train.save_best`` the file ``best.weights.h5``.

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
        Stopped: a signal (Ctrl-C, SIGTERM, SIGUSR1) ended the run after its step, with a checkpoint.
    """
    settings = settings_of(config)
    strategy = make_strategy(strategy) if isinstance(strategy, str) else strategy
    index, workers = worker()
    keras.utils.set_random_seed(settings.seed)
    keras.config.set_dtype_policy(settings.precision)
    run = _Run(config, settings, pathlib.Path(work_dir), strategy, index, workers)
    callbacks = [*run.callbacks(), *callbacks]
    run.prepare_folder(resume)
    if settings.accumulate > 1 and strategy.num_replicas_in_sync > 1:
        raise ValueError("train.accumulate works on one device: give every device a larger batch instead.")
    with strategy.scope():
        model = config.build("model")
        if settings.initial and not (resume and run.checkpoints.steps()):
            zoo.fill(model, config, settings.initial, partial=True)
        if model.teacher_name is not None:
            model.attach_teacher(zoo.load(model.teacher_name))
        model.sampling_seed = settings.seed
        model.compile(optimizer=run.optimizer())
    if model.class_names is None and model.num_classes is not None:
        model.class_names = run.pipeline.class_names
    step = run.checkpoints.restore(model, run.others) if resume else 0
    if resume and not step:
        logger.warning("%s holds no checkpoint to resume: the run starts at its beginning.", run.folder)
    if step >= settings.epochs * run.steps_per_epoch:
        logger.warning(
            "Nothing is left to train: the run in %s is complete at step %d (%d epochs of %d steps). A "
            "larger train.epochs goes on from there.",
            run.folder, step, settings.epochs, run.steps_per_epoch,
        )  # fmt: skip
    elif step:
        logger.info("Resuming at step %d (epoch %d).", step, step // run.steps_per_epoch + 1)
    history = run.fit(model, step, callbacks, verbose)
    use_averages(model)
    if run.is_chief:
        model.save_weights(run.folder / "final.weights.h5", overwrite=True)
        facts.write(run.folder / "final.weights.h5", run.facts)
    return model, history


class _Run:
    """What one call of :func:`train` works with."""

    def __init__(
        self,
        config: Config,
        settings: Any,
        folder: pathlib.Path,
        strategy: tf.distribute.Strategy,
        index: int,
        workers: int,
    ) -> None:
        self.config, self.settings, self.strategy = config, settings, strategy
        self.shard, self.is_chief = (index, workers), index == 0
        # Every worker writes its own files: reading synchronised statistics needs all of them.
        folders = [folder, *(folder / f"worker_{i}" for i in range(1, workers))]
        self.folder = folders[index]
        self.pipeline = load_data(config, "train", settings.batch_size, settings.seed)
        self.facts = facts.facts_of(self.pipeline, settings.seed)
        every = [Checkpoints(one / "checkpoints", run=self.facts) for one in folders]
        self.checkpoints, self.others = every[index], every[:index] + every[index + 1 :]
        self.steps_per_epoch = self.pipeline.steps_per_epoch
        if settings.plain_epochs:
            mixed = max(settings.epochs - settings.plain_epochs, 0)
            self.pipeline.mixing_until = mixed * self.steps_per_epoch
        logger.info("%s", self.pipeline.report())

    def prepare_folder(self, resume: bool) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        if self.checkpoints.steps() and not resume:
            raise ValueError(
                f"{self.folder} already holds checkpoints of a run: resume it (--resume), or choose another "
                "work directory."
            )
        self.config.save(self.folder / "config.yaml")

    def optimizer(self) -> keras.optimizers.Optimizer:
        return make_optimizer(self.settings, self.steps_per_epoch)

    def callbacks(self) -> list[keras.callbacks.Callback]:
        """Those that the recipe names."""
        found = build_part(self.settings.callbacks, CALLBACKS, ("train", "callbacks"))
        if self.settings.save_best:
            found.append(SaveBest(str(self.folder / "best.weights.h5"), self.settings.save_best))
        evaluated = self.settings.evaluate_every and self.config["data"].get("val")
        for one in found:
            if isinstance(one, Monitor) and one.monitor.startswith("val/") and not evaluated:
                raise ValueError(
                    f"{type(one).__name__} watches {one.monitor}, but nothing is evaluated: describe "
                    "data.val and set train.evaluate_every, or watch a loss."
                )
        return found

    def dataset(self, skip: int) -> tf.data.Dataset:
        """The distributed training data from the global step ``skip`` on."""
        if self.strategy.num_replicas_in_sync == 1:
            return self.pipeline.dataset(skip=skip)
        local = self.strategy.num_replicas_in_sync // self.shard[1]

        def of_worker(context: tf.distribute.InputContext) -> tf.data.Dataset:
            return self.pipeline.dataset(skip=skip, shard=self.shard, split=local)

        return self.strategy.distribute_datasets_from_function(of_worker)

    def fit(
        self, model: Detector, step: int, callbacks: list[keras.callbacks.Callback], verbose: int | str
    ) -> list[dict[str, Any]]:
        """Trains from global step ``step`` to the end; first finishes a begun epoch."""
        history: list[dict[str, Any]] = []
        epochs = self.settings.epochs
        log = EpochLog(self.folder / "log.jsonl", history)
        writer = EventWriter(self.folder / "tensorboard")
        evaluation = self.evaluation(model, writer)
        epoch, inside = divmod(step, self.steps_per_epoch)
        parts = [(epoch, epoch + 1, self.steps_per_epoch - inside)] if inside else []
        if epoch + len(parts) < epochs:
            parts.append((epoch + len(parts), epochs, self.steps_per_epoch))
        for first, last, steps in parts:
            for one in callbacks:
                if isinstance(one, Monitor):
                    one.remember(lines_before(self.folder / "log.jsonl", first))
            own = [
                SaveCheckpoints(self.checkpoints, step, self.settings.save_every),
                *evaluation,
                TensorBoardScalars(writer, step, self.settings.log_every),
                log,
            ]
            with named_failure(model), self.stoppable(own, step):
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

    @contextlib.contextmanager
    def stoppable(self, callbacks: list[keras.callbacks.Callback], step: int) -> Iterator[None]:
        """Signals end the run with a checkpoint; not of several workers, which would not agree on a step."""
        if self.shard[1] > 1:
            yield
            return
        with Interrupts().caught() as interrupts:
            callbacks.append(StopOnSignal(interrupts, self.checkpoints, step))
            yield

    def evaluation(self, model: Detector, writer: Any) -> list[keras.callbacks.Callback]:
        """The callbacks that score the validation data, if the recipe has any."""
        every = self.settings.evaluate_every
        if not every or not self.config.get("data", {}).get("val"):
            return []
        per_replica = max(1, self.settings.batch_size // self.strategy.num_replicas_in_sync)
        pipeline = load_data(self.config, "val", per_replica)
        require_same(self.pipeline.class_names, pipeline.class_names, "data.train", "data.val")
        return [
            EvaluateDetections(
                pipeline,
                metrics=self.config["data"].get("metrics", ["bbox"]),
                every=every,
                last_epoch=self.settings.epochs,
                images=lambda inputs, detections: writer.images(
                    "val/detections",
                    show_images(inputs, detections, pipeline.class_names),
                    optimizer_steps(model),
                ),
            )
        ]


def load_data(config: Any, split: str, batch_size: int, seed: int = 0) -> data_room.Pipeline:
    """The pipeline of ``data.<split>`` of a recipe; its classes must be as many as the model's."""
    return data_room.load(
        data_room.section(config, split),
        training=split == "train",
        batch_size=batch_size,
        seed=seed,
        num_classes=class_count(config["model"]),
    )


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
    updates = steps_per_epoch / settings.accumulate
    given = {"learning_rate": rate, "steps_per_epoch": updates, "epochs": settings.epochs}
    schedule = build_part(settings.schedule or {}, SCHEDULE, ("train", "schedule"), given)
    given = {"learning_rate": schedule, "global_clipnorm": settings.clip}
    if settings.ema is not None:
        momentum = Ema(**settings.ema).momentum
        # the end of one call of `fit` is not the end of the run
        given.update(use_ema=True, ema_momentum=momentum, ema_finalize=False)
    if settings.accumulate > 1:
        given["gradient_accumulation_steps"] = settings.accumulate
    optimizer = build_part(spec, OPTIMIZER, section, given)
    if settings.precision != "mixed_float16":
        return optimizer
    if settings.loss_scale == "dynamic":
        return LossScaleOptimizer(optimizer)
    # A fixed scale never grows; an overflow still halves it and skips the step.
    return LossScaleOptimizer(optimizer, initial_scale=settings.loss_scale, dynamic_growth_steps=2**31 - 1)


@contextlib.contextmanager
def named_failure(model: keras.Model) -> Iterator[None]:
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
