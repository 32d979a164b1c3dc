"""Training a recipe: strategy, data, model, optimizer and callbacks around ``model.fit``."""

import contextlib
import json
import logging
import pathlib
from collections.abc import Iterator, Sequence
from typing import Any, Literal

import keras
import tensorflow as tf

from kdet import data as data_room
from kdet import storage, zoo
from kdet.building import build_part
from kdet.class_names import require_same
from kdet.config import Config
from kdet.data import faults
from kdet.detectors import Detector
from kdet.errors import Stopped
from kdet.evaluation.workers import Workers
from kdet.overrides import label_count
from kdet.precision import quick_policy
from kdet.settings import CALLBACKS
from kdet.train import facts
from kdet.train.averages import use_averages
from kdet.train.callbacks import (
    EpochLog,
    EvaluateDetections,
    SendFiles,
    lines_before,
    optimizer_steps,
    show_images,
)
from kdet.train.checkpoints import Checkpoints, SaveCheckpoints
from kdet.train.interrupts import Interrupts, StopOnSignal
from kdet.train.monitors import Monitor, SaveBest
from kdet.train.phases import LateLosses
from kdet.train.section import MANY_IMAGES, make_optimizer, settings_of
from kdet.train.strategy import make_strategy, require_static, worker
from kdet.train.tensorboard import EventWriter, TensorBoardScalars
from kdet.typing import PathLike
from kdet.writing import whole

logger = logging.getLogger("kdet")

# files of a work directory that a run goes on from
PULLED = ("checkpoints/", "log.jsonl", "best.weights.h5")

# what TensorFlow raises in a worker when another is gone
GONE = (
    tf.errors.UnavailableError,
    tf.errors.AbortedError,
    tf.errors.CancelledError,
    tf.errors.DeadlineExceededError,
    tf.errors.InternalError,
)


def train(
    config: Any,
    work_dir: PathLike,
    strategy: Any = "auto",
    resume: bool | Literal["auto"] = False,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    verbose: int = 1,
) -> tuple[Any, list[dict[str, Any]]]:
    """Trains the model of a recipe.

    Writes into ``work_dir``: ``config.yaml`` (the resolved recipe), ``checkpoints/`` (the newest two, for
    ``resume``), ``log.jsonl`` (a line per epoch), ``tensorboard/``, ``final.weights.h5`` (with ``train.ema``
    the averages), and with ``train.save_best`` the file ``best.weights.h5``.

    Args:
        config: :class:`kdet.config.Config` with the sections ``model``, ``data`` and ``train``.
        work_dir: folder; created. May be a URL (``kdet.storage``): the files are made on this machine, and
            what is new is sent every 30 seconds and at the end of epochs.
        strategy: a ``tf.distribute.Strategy``, or a name for :func:`kdet.train.strategy.make_strategy`.
        resume: continue from the newest checkpoint in ``work_dir``, at the very step it was written at, under
            any number of workers; "auto" starts a run where there is none, without a word.
        callbacks: further Keras callbacks.
        verbose: as in ``fit``.

    Returns:
        ``(model, history)``; ``history`` is a list with the figures of every epoch of this call.

    Raises:
        ValueError: the data do not fit the model or the strategy; ``work_dir`` holds another run.
        FloatingPointError: a loss became NaN or infinite; the message names it.
        Stopped: a signal (Ctrl-C, SIGTERM, SIGUSR1) ended the run after its step, with a checkpoint.
    """
    if storage.is_url(work_dir):
        return _train_behind_url(config, str(work_dir), strategy, resume, callbacks, verbose)
    settings = settings_of(config)
    strategy = make_strategy(strategy) if isinstance(strategy, str) else strategy
    index, workers = worker()
    keras.utils.set_random_seed(settings.seed)
    keras.config.set_dtype_policy(quick_policy(settings.precision))
    run = _Run(config, settings, pathlib.Path(work_dir), strategy, index, workers)
    callbacks = [*run.callbacks(), *callbacks]
    run.workers.every(lambda: run.prepare_folder(bool(resume)))
    if settings.accumulate > 1 and strategy.num_replicas_in_sync > 1:
        raise ValueError("train.accumulate works on one device: give every device a larger batch instead.")
    on_tpu = isinstance(strategy, tf.distribute.TPUStrategy)
    if settings.jit_compile and strategy.num_replicas_in_sync > 1 and not on_tpu:
        raise ValueError("train.jit_compile works on one device: leave it out, or train with --strategy one.")
    with strategy.scope():
        model = config.build("model")
        if settings.initial and not (resume and run.has_checkpoints()):
            zoo.fill(model, config, settings.initial, partial=True)
        if model.teacher_name is not None:
            model.attach_teacher(zoo.load(model.teacher_name))
        model.sampling_seed = settings.seed
        model.compile(optimizer=run.optimizer(), jit_compile=settings.jit_compile)
    if model.class_names is None and model.num_classes is not None:
        model.class_names = run.pipeline.class_names
    step = run.restore(model) if resume else 0
    if resume is True and not step:
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


def _train_behind_url(
    config: Any,
    url: str,
    strategy: Any,
    resume: bool | Literal["auto"],
    callbacks: Sequence[keras.callbacks.Callback],
    verbose: int,
) -> tuple[Any, list[dict[str, Any]]]:
    """As :func:`train`, in a folder of this machine that stands for the one behind the URL."""
    mirror = storage.Mirror(url)
    try:
        index, _ = worker()
        mirror.pull(lambda name: index == 0 and name.startswith(PULLED))
        if not resume and any((mirror.folder / "checkpoints").glob("*.h5")):
            raise ValueError(
                f"{url} already holds checkpoints of a run: resume it (--resume), or choose another work "
                "directory."
            )
        sending = SendFiles(mirror)
        found = train(config, mirror.folder, strategy, resume, [*callbacks, sending], verbose)
    finally:
        mirror.push()
        mirror.close()
    return found


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
        self.workers = Workers(strategy)
        # Checkpoints and weights are the chief's; the others have folders of their own for log and events.
        self.folder = folder if self.is_chief else folder / f"worker_{index}"
        self.pipeline = load_data(config, "train", settings.batch_size, settings.seed)
        self.facts = facts.facts_of(self.pipeline, settings.seed)
        self.checkpoints = Checkpoints(folder / "checkpoints", run=self.facts)
        if isinstance(strategy, tf.distribute.TPUStrategy):
            require_static(self.pipeline.dataset().element_spec)
        self.steps_per_epoch = self.pipeline.steps_per_epoch
        if settings.plain_epochs:
            mixed = max(settings.epochs - settings.plain_epochs, 0)
            self.pipeline.mixing_until = mixed * self.steps_per_epoch
        logger.info("%s", self.pipeline.report())

    def prepare_folder(self, resume: bool) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        if self.is_chief and self.checkpoints.steps() and not resume:
            raise ValueError(
                f"{self.folder} already holds checkpoints of a run: resume it (--resume), or choose another "
                "work directory."
            )
        self.config.save(self.folder / "config.yaml")

    def has_checkpoints(self) -> bool:
        """Whether the chief has a checkpoint."""
        return bool(self.workers.of_chief(lambda: {"count": len(self.checkpoints.steps())})["count"])

    def restore(self, model: Detector) -> int:
        """Loads the chief's newest checkpoint in every worker; returns its step, 0 where there is none."""
        step = int(self.workers.of_chief(lambda: {"step": self.checkpoints.restore(model)})["step"])
        if step and self.shard[1] > 1:
            path = self.checkpoints.path(step)
            if any(self.workers.exchange(b"" if path.is_file() else b"not here")):  # no shared file system
                content = self.workers.exchange(path.read_bytes() if self.is_chief else b"")[0]
                path = self.folder / path.name
                self.workers.every(lambda: self.load_copy(model, path, content))
            else:
                self.workers.every(lambda: None if self.is_chief else self.checkpoints.load(model, path))
        return step

    def load_copy(self, model: Detector, path: pathlib.Path, content: bytes) -> None:
        """Loads the bytes of the chief's checkpoint in another worker."""
        if self.is_chief:
            return
        with whole(path) as part:
            part.write_bytes(content)
        try:
            self.checkpoints.load(model, path)
        finally:
            path.unlink()

    def optimizer(self) -> keras.optimizers.Optimizer:
        return make_optimizer(self.settings, self.steps_per_epoch)

    def callbacks(self) -> list[keras.callbacks.Callback]:
        """Those that the recipe names."""
        found = build_part(self.settings.callbacks, CALLBACKS, ("train", "callbacks"))
        if self.settings.save_best and self.is_chief:
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
        late = self.settings.late_losses_from
        phases = [] if late is None else [LateLosses.of(late, epochs)]
        epoch, inside = divmod(step, self.steps_per_epoch)
        parts = [(epoch, epoch + 1, self.steps_per_epoch - inside)] if inside else []
        if epoch + len(parts) < epochs:
            parts.append((epoch + len(parts), epochs, self.steps_per_epoch))
        for first, last, steps in parts:
            monitors = [one for one in callbacks if isinstance(one, Monitor)]
            lines = self.chief_lines(first)
            for one in monitors:
                one.remember(lines)
            ended = [one for one in monitors if one.has_ended()]
            if ended:
                name, figure = type(ended[0]).__name__, ended[0].monitor
                logger.warning(
                    "Nothing is left to train: %s ended the run in %s after epoch %d, as %s got no better. "
                    "More patience goes on from there.",
                    name, self.folder, first, figure,
                )  # fmt: skip
                break
            saving = SaveCheckpoints(self.checkpoints, step, self.settings.save_every)
            own = [
                *phases,
                *([saving] if self.is_chief else []),
                *evaluation,
                TensorBoardScalars(writer, step, self.settings.log_every),
                log,
            ]
            with self.writing(), self.survives_workers(), named_failure(model), self.stoppable(own, step):
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

    def chief_lines(self, epoch: int) -> list[dict[str, Any]]:
        """The lines of the log of the first ``epoch`` epochs, of the chief, whom all go by."""
        own = lines_before(self.folder / "log.jsonl", epoch) if self.is_chief else []
        return list(json.loads(self.workers.exchange(json.dumps(own).encode())[0]))

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """At its end no checkpoint is being written."""
        try:
            yield
        finally:
            self.checkpoints.wait()

    @contextlib.contextmanager
    def survives_workers(self) -> Iterator[None]:
        """Turns what TensorFlow says when another worker is gone into one sentence."""
        try:
            yield
        except GONE as error:
            if self.shard[1] == 1:
                raise
            raise Stopped(
                "Another worker of this run ended or cannot be reached. Start all of them again with "
                "--resume auto: they go on from the newest checkpoint.",
                "WORKER",
            ) from error

    @contextlib.contextmanager
    def stoppable(self, callbacks: list[keras.callbacks.Callback], step: int) -> Iterator[None]:
        """Signals end the run with a checkpoint, on all workers after the same step."""
        exchange = self.workers.exchange if self.shard[1] > 1 else None
        with Interrupts().caught() as interrupts:
            callbacks.append(StopOnSignal(interrupts, self.checkpoints, step, exchange, self.is_chief))
            yield

    def evaluation(self, model: Detector, writer: Any) -> list[keras.callbacks.Callback]:
        """The callbacks that score the validation data, if the recipe has any."""
        every = self.settings.evaluate_every
        if not every or not self.config.get("data", {}).get("val"):
            return []
        # whole batches go to the replicas: their size, and so the canvas of an image, must not depend on how
        # many there are
        pipeline = load_data(self.config, "val", min(self.settings.batch_size, MANY_IMAGES))
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
        num_classes=label_count(config.section("model")),
    )


@contextlib.contextmanager
def named_failure(model: keras.Model) -> Iterator[None]:
    """Turns reports into errors for people: a loss that is not finite with the step and what a recipe can
    change, a reader's error as it was raised."""
    try:
        with faults.raised():
            yield
    except FloatingPointError as error:
        name = str(error).split(" ", 1)[0]
        step = optimizer_steps(model)
        raise FloatingPointError(
            f"Training stopped after {step} optimizer steps: {name} is NaN or infinite (learning rate "
            f"{float(model.optimizer.learning_rate):g}). The weights are those of the step before. Lower "
            "train.optimizer.learning_rate, lengthen train.schedule.warmup_steps, set train.clip, or look "
            "for broken boxes with kdet browse."
        ) from error
