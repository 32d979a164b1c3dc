"""What ``compile``, ``fit`` and ``evaluate`` do with a detector."""

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from kdet.checks import plain_errors
from kdet.compat import ReplicaOptimizer
from kdet.detectors.epoch_means import EpochMeans
from kdet.layers import num_replicas
from kdet.typing import Tensor


class TrainingSteps(keras.Model):
    """Training side of a detector: mixed into ``keras.Model`` in front of it.

    Expects ``compute_losses(inputs, targets) -> {name: scalar}``. Each step is one graph; losses are logged
    by name. A loss that is NaN or infinite stops the step before it changes a weight and is named in the
    error.
    """

    train_function: Any
    test_function: Any

    def compile(
        self,
        optimizer: str | keras.optimizers.Optimizer = "rmsprop",
        loss: Any = None,
        loss_weights: Any = None,
        metrics: Any = None,
        weighted_metrics: Any = None,
        jit_compile: bool = False,
        **kwargs: Any,
    ) -> None:
        """As in Keras. XLA is off unless asked for: not every layer can be compiled.

        kdet's optimizers look up their factors per parameter here.

        Raises:
            ValueError: losses or metrics are given: a detector brings its losses.
        """
        own = {"loss": loss, "loss_weights": loss_weights}
        own.update(metrics=metrics, weighted_metrics=weighted_metrics)
        for name, value in own.items():
            if value is not None and value != []:
                raise ValueError(
                    f"compile takes no {name}: a detector brings its losses (the loss_... of its heads in "
                    "the recipe), and AP comes from kdet.evaluation.evaluate(model, pipeline)."
                )
        super().compile(optimizer=optimizer, jit_compile=jit_compile, **kwargs)
        inner = self.optimizer
        if isinstance(inner, keras.optimizers.LossScaleOptimizer):
            inner = inner.inner_optimizer
        if isinstance(inner, ReplicaOptimizer):
            inner.bind(self)
        if not self.optimizer.built:
            # Variables that the first step had to create would make TensorFlow trace it twice.
            self.optimizer.build(self.trainable_variables)

    def compile_from_config(self, config: Any) -> None:
        """Compiles a loaded model as it was compiled when it was saved.

        Keras does this by itself only for models that keep its ``compile``.
        """
        self.compile(**keras.saving.deserialize_keras_object(config))

    def make_train_function(self, force: bool = False) -> None:
        super().make_train_function(force)
        self.train_function = _plain(self.train_function)

    def make_test_function(self, force: bool = False) -> None:
        super().make_test_function(force)
        self.test_function = _plain(self.test_function)

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
        with tf.control_dependencies(_finite_checks(losses)):
            gradients = [None if g is None else tf.identity(g) for g in gradients]
            self.optimizer.apply_gradients(zip(gradients, self.trainable_weights))
        return self._logs({"loss": total, **losses})

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
        for name, count in (("epochs", epochs), ("steps_per_epoch", steps_per_epoch)):
            if count is not None and count < 1:
                raise ValueError(f"fit: {name} must be at least 1; got {count}.")
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
    """The same step, but errors of a graph that hold a sentence of kdet's are that sentence alone."""

    def __init__(self, function: Callable[[Any], Any]) -> None:
        self._function = function

    def __call__(self, iterator: Any) -> Any:
        with plain_errors():
            return self._function(iterator)


def _plain(function: Any) -> Any:
    return function if isinstance(function, _PlainStep) else _PlainStep(function)


def _unpacked(data: Any) -> tuple[Any, Any]:
    inputs, targets, weights = keras.utils.unpack_x_y_sample_weight(data)
    _refuse_weights(sample_weight=weights)
    return inputs, targets


def _refuse_weights(**weights: Any) -> None:
    for name, value in weights.items():
        if value is not None:
            raise ValueError(
                f"Detectors take no {name}: weigh losses by their loss_weight in the recipe, or repeat "
                "images with data.train.oversample."
            )


def _finite_checks(losses: dict[str, Tensor]) -> list[Tensor]:
    return [
        tf.debugging.check_numerics(value, f"{name} is NaN or infinite") for name, value in losses.items()
    ]
