"""What ``compile``, ``fit`` and ``evaluate`` do with a detector."""

import re
from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from kdet.checks import plain_errors, require, require_count
from kdet.compat import ReplicaOptimizer
from kdet.detectors.epoch_means import EpochMeans
from kdet.errors import short
from kdet.layers import num_replicas
from kdet.ops import under_xla
from kdet.typing import Tensor


class TrainingSteps(keras.Model):
    """Training side of a detector: mixed into ``keras.Model`` in front of it.

    Expects ``compute_losses(inputs, targets) -> {name: scalar}``. Each step is one graph; losses are logged
    by name. A loss that is NaN or infinite stops the step before it changes a weight and is named in the
    error.
    """

    train_function: Any
    test_function: Any
    _under_xla = False

    def compile(
        self,
        optimizer: str | keras.optimizers.Optimizer = "rmsprop",
        loss: Any = None,
        loss_weights: Any = None,
        metrics: Any = None,
        weighted_metrics: Any = None,
        jit_compile: bool | str = False,
        **kwargs: Any,
    ) -> None:
        """As in Keras. XLA is off unless asked for ("auto": off): on CPUs it is slower than the compiled ops.

        With ``jit_compile=True`` the whole step is one program of XLA, made of the portable ops; there the
        values of inputs and targets are not checked (ranges of boxes and labels), their shapes are. kdet's
        optimizers look up their factors per parameter here.

        Raises:
            ValueError: losses or metrics are given: a detector brings its losses; or gradients are to be
                accumulated on several devices.
        """
        own = {"loss": loss, "loss_weights": loss_weights}
        own.update(metrics=metrics, weighted_metrics=weighted_metrics)
        for name, value in own.items():
            if value is not None and value != []:
                raise ValueError(
                    f"compile takes no {name}: a detector brings its losses (the loss_... of its heads in "
                    "the recipe), and AP comes from kdet.evaluation.evaluate(model, pipeline)."
                )
        super().compile(optimizer=optimizer, jit_compile=jit_compile is True, **kwargs)
        inner = self.optimizer
        if isinstance(inner, keras.optimizers.LossScaleOptimizer):
            inner = inner.inner_optimizer
        if inner.gradient_accumulation_steps and self.distribute_strategy.num_replicas_in_sync > 1:
            raise ValueError(
                f"gradient_accumulation_steps={inner.gradient_accumulation_steps} works on one device, and "
                f"here are {self.distribute_strategy.num_replicas_in_sync}: give every device a larger batch "
                "instead."
            )
        if isinstance(inner, ReplicaOptimizer):
            inner.bind(self)
        if not self.optimizer.built:
            # Variables that the first step had to create would make TensorFlow trace it twice.
            self.optimizer.build(self.trainable_variables)

    @property
    def jit_compile(self) -> bool:
        """Whether a step is one program of XLA, as `compile` was told.

        Keras would ask every layer; the compiled ops that layers shun XLA for have portable forms.

        Raises:
            ValueError: when set, for a detector that XLA cannot compile (``supports_jit``).
        """
        return self._under_xla

    @jit_compile.setter
    def jit_compile(self, value: bool | None) -> None:
        if value and not self.supports_jit:
            raise ValueError(f"{self.name} cannot be compiled by XLA: leave jit_compile off.")
        # a TPU's strategy makes a program of every step itself
        on_tpu = isinstance(self.distribute_strategy, tf.distribute.TPUStrategy)
        self._under_xla = bool(value) and not on_tpu

    def compile_from_config(self, config: Any) -> None:
        """Compiles a loaded model as it was compiled when it was saved.

        Keras does this by itself only for models that keep its ``compile``.
        """
        self.compile(**keras.saving.deserialize_keras_object(config))

    def make_train_function(self, force: bool = False) -> None:
        super().make_train_function(force)
        self.train_function = self._plain(self.train_function)

    def make_test_function(self, force: bool = False) -> None:
        super().make_test_function(force)
        self.test_function = self._plain(self.test_function)

    def _plain(self, function: Any) -> Any:
        if isinstance(function, _PlainStep):
            return function
        on_tpu = isinstance(self.distribute_strategy, tf.distribute.TPUStrategy)
        return _PlainStep(function, check_losses=self.jit_compile or on_tpu)

    @property
    def has_late_losses(self) -> bool:
        """Whether the losses change in the course of a training (YOLOX, TOOD)."""
        return False

    def use_late_losses(self, late: bool) -> None:
        """Choose the phase of training; the steps are traced anew where it changes.

        Raises:
            ValueError: the model has one phase only.
        """
        if not self.has_late_losses:
            raise ValueError(
                f"{type(self).__name__} {self.name!r} has the same losses all through a training: leave "
                "train.late_losses_from out."
            )
        if not self.set_late_losses(late):
            return
        if self.train_function is not None:
            self.make_train_function(force=True)
        if self.test_function is not None:
            self.make_test_function(force=True)

    def set_late_losses(self, late: bool) -> bool:
        """Hand the phase on to the heads; whether it is another one than before."""
        return False

    def train_step(self, data: Any) -> dict[str, Tensor]:
        inputs, targets = _unpacked(data)
        with tf.GradientTape() as tape:
            losses = self.compute_losses(inputs, targets)
            total = tf.add_n(list(losses.values()))
            # Gradients are summed over replicas, so each contributes its share.
            scaled = self.optimizer.scale_loss(total / num_replicas())
        if not self.trainable_weights:
            raise ValueError(
                "Nothing can be trained: every weight is frozen. Set trainable = True on the model or on one "
                "of its parts (or backbone.frozen_stages lower in the recipe), and compile again."
            )
        gradients = tape.gradient(scaled, self.trainable_weights)
        if under_xla():
            self._apply_where_finite(gradients, losses)
        else:
            with tf.control_dependencies(_finite_checks(losses)):
                gradients = [None if g is None else tf.identity(g) for g in gradients]
                self.optimizer.apply_gradients(zip(gradients, self.trainable_weights))
        return self._logs({"loss": total, **losses})

    def _apply_where_finite(self, gradients: list[Tensor | None], losses: dict[str, Tensor]) -> None:
        """Changes nothing where a loss is no number, for which XLA does not stop; `_PlainStep` does."""

        def apply() -> Tensor:
            self.optimizer.apply_gradients(zip(gradients, self.trainable_weights))
            return tf.constant(True)

        finite = tf.reduce_all(tf.math.is_finite(tf.stack(list(losses.values()))))
        tf.cond(finite, apply, lambda: tf.constant(False))

    def test_step(self, data: Any) -> dict[str, Tensor]:
        inputs, targets = _unpacked(data)
        losses = self.compute_losses(inputs, targets)
        return self._logs({"loss": tf.add_n(list(losses.values())), **losses})

    def fit(
        self,
        x: Any = None,
        y: Any = None,
        batch_size: int | None = None,
        epochs: int = 1,
        verbose: int | str = "auto",
        callbacks: Any = None,
        validation_split: float = 0.0,
        validation_data: Any = None,
        shuffle: bool = True,
        class_weight: Any = None,
        sample_weight: Any = None,
        initial_epoch: int = 0,
        steps_per_epoch: int | None = None,
        validation_steps: int | None = None,
        validation_batch_size: int | None = None,
        validation_freq: int = 1,
    ) -> keras.callbacks.History:
        """As in Keras; the losses of an epoch are means over its batches.

        Raises:
            ValueError: nothing would be trained; weights of classes or samples are given; inputs or targets
                break the data contract (see ``kdet.targets.as_targets``).
        """
        _refuse_weights(sample_weight=sample_weight, class_weight=class_weight)
        require_count("fit: epochs", epochs)
        require_count("fit: initial_epoch", initial_epoch, 0)
        counts = {"batch_size": batch_size, "steps_per_epoch": steps_per_epoch}
        counts.update(validation_steps=validation_steps, validation_batch_size=validation_batch_size)
        for name, count in counts.items():
            if count is not None:
                require_count(f"fit: {name}", count)
        if not isinstance(validation_split, (int, float)) or not 0 <= validation_split < 1:
            raise ValueError(
                f"fit: validation_split must be from 0 to below 1; got {short(validation_split)}."
            )
        _refuse_other_callbacks(callbacks)
        if initial_epoch >= epochs:
            raise ValueError(
                f"fit: initial_epoch={initial_epoch} leaves nothing of epochs={epochs}, which counts all "
                "epochs of the run, those before included."
            )
        return super().fit(
            x,
            y,
            batch_size=batch_size,
            epochs=epochs,
            verbose=verbose,
            callbacks=EpochMeans.put_first(callbacks, self),
            validation_split=validation_split,
            validation_data=validation_data,
            shuffle=shuffle,
            initial_epoch=initial_epoch,
            steps_per_epoch=steps_per_epoch,
            validation_steps=validation_steps,
            validation_batch_size=validation_batch_size,
            validation_freq=validation_freq,
        )

    def evaluate(
        self,
        x: Any = None,
        y: Any = None,
        batch_size: int | None = None,
        verbose: int | str = "auto",
        sample_weight: Any = None,
        steps: int | None = None,
        callbacks: Any = None,
        return_dict: bool = False,
        **kwargs: Any,
    ) -> list[float] | dict[str, float]:
        """Mean losses over a dataset (for AP see ``kdet.evaluation.evaluate``).

        Returns:
            A list, total loss first, or with ``return_dict`` a dict by name.
        """
        _refuse_weights(sample_weight=sample_weight)
        for name, count in (("batch_size", batch_size), ("steps", steps)):
            if count is not None:
                require_count(f"evaluate: {name}", count)
        _refuse_other_callbacks(callbacks)
        callbacks = EpochMeans.put_first(callbacks, self)
        super().evaluate(
            x,
            y,
            batch_size=batch_size,
            verbose=verbose,
            steps=steps,
            callbacks=callbacks,
            return_dict=True,
            **kwargs,  # what fit alone hands over
        )
        every = callbacks.callbacks if isinstance(callbacks, keras.callbacks.CallbackList) else callbacks
        found = next(one for one in every if isinstance(one, EpochMeans)).tested()
        return found if return_dict else list(found.values())

    def _logs(self, losses: dict[str, Tensor]) -> dict[str, Tensor]:
        """Losses in the form in which Keras can average them over the replicas."""
        if isinstance(self.distribute_strategy, tf.distribute.MultiWorkerMirroredStrategy):
            return {name: value[None] for name, value in losses.items()}
        return losses


class _PlainStep:
    """The same step, but errors of a graph that hold a sentence of kdet's are that sentence alone.

    Args:
        function: the step, ``iterator -> logs``.
        check_losses: look at the losses when the step is over, which XLA cannot while it runs.

    Raises:
        FloatingPointError: a loss is NaN or infinite.
    """

    def __init__(self, function: Callable[[Any], Any], check_losses: bool) -> None:
        self._function, self._check_losses = function, check_losses

    def __call__(self, iterator: Any) -> Any:
        try:
            with plain_errors():
                logs = self._function(iterator)
            if self._check_losses:
                _finite_checks({name: logs[name] for name in sorted(logs, key="loss".__eq__)})  # the sum last
        except tf.errors.InvalidArgumentError as error:
            found = re.search(r"(\w+) is NaN or infinite", str(error))
            if not found:
                raise
            raise FloatingPointError(
                f"{found.group(1)} is NaN or infinite; the weights are those of the step before. Lower the "
                "learning rate, clip the gradients (global_clipnorm), or look for broken boxes and images."
            ) from error
        return logs


def _unpacked(data: Any) -> tuple[Any, Any]:
    inputs, targets, weights = keras.utils.unpack_x_y_sample_weight(data)
    _refuse_weights(sample_weight=weights)
    return _not_empty(inputs), targets


def _not_empty(inputs: Any) -> Any:
    """The inputs of a step, refused where this replica got no image of the batch."""
    if num_replicas() == 1:
        return inputs
    check = require(
        tf.shape(tf.nest.flatten(inputs)[0])[0] > 0,
        f"A batch has fewer images than there are replicas ({num_replicas()}), so that one would have none. "
        "Cut off the last, smaller batch (batch(..., drop_remainder=True)), or take a Pipeline of "
        "kdet.data.load, which fills it.",
    )
    with tf.control_dependencies([] if check is None else [check]):
        return tf.nest.map_structure(tf.identity, inputs)


def _refuse_weights(**weights: Any) -> None:
    for name, value in weights.items():
        if value is not None:
            raise ValueError(
                f"Detectors take no {name}: weigh losses by their loss_weight in the recipe, or repeat "
                "images with data.train.oversample."
            )


def _refuse_other_callbacks(callbacks: Any) -> None:
    if isinstance(callbacks, keras.callbacks.CallbackList):
        return
    for one in keras.tree.flatten(callbacks or []):
        if not isinstance(one, keras.callbacks.Callback):
            raise ValueError(f"callbacks must hold objects of keras.callbacks.Callback; got {short(one)}.")


def _finite_checks(losses: dict[str, Tensor]) -> list[Tensor]:
    return [
        tf.debugging.check_numerics(value, f"{name} is NaN or infinite") for name, value in losses.items()
    ]
