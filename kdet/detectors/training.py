"""What ``compile``, ``fit`` and ``evaluate`` do with a detector."""

import keras
import tensorflow as tf

from kdet.layers import num_replicas


class TrainingSteps:
    """Training side of a detector: mixed into ``keras.Model`` in front of it.

    Expects ``compute_losses(inputs, targets) -> {name: scalar}``. Each step is one graph; losses are logged
    by name. A loss that is NaN or infinite stops the step before it changes a weight and is named in the
    error.
    """

    def compile(self, optimizer="rmsprop", jit_compile=False, **kwargs):
        """As in Keras. XLA is off unless asked for: not every layer can be compiled.

        kdet's optimizers look up their factors per parameter here.
        """
        super().compile(optimizer=optimizer, jit_compile=jit_compile, **kwargs)
        inner = getattr(self.optimizer, "inner_optimizer", self.optimizer)  # behind loss scaling
        if hasattr(inner, "bind"):
            inner.bind(self)
        if not self.optimizer.built:
            # Variables that the first step had to create would make TensorFlow trace it twice.
            self.optimizer.build(self.trainable_variables)

    def compile_from_config(self, config):
        """Compiles a loaded model as it was compiled when it was saved.

        Keras does this by itself only for models that keep its ``compile``.
        """
        self.compile(**keras.saving.deserialize_keras_object(config))

    def train_step(self, data):
        inputs, targets, _ = keras.utils.unpack_x_y_sample_weight(data)
        with tf.GradientTape() as tape:
            losses = self.compute_losses(inputs, targets)
            total = tf.add_n(list(losses.values()))
            # Gradients are summed over replicas, so each contributes its share.
            scaled = self.optimizer.scale_loss(total / num_replicas())
        gradients = tape.gradient(scaled, self.trainable_weights)
        with tf.control_dependencies(_finite_checks(losses)):
            gradients = [None if g is None else tf.identity(g) for g in gradients]
            self.optimizer.apply_gradients(zip(gradients, self.trainable_weights))
        return self._logs({"loss": total, **losses})

    def test_step(self, data):
        inputs, targets, _ = keras.utils.unpack_x_y_sample_weight(data)
        losses = self.compute_losses(inputs, targets)
        return self._logs({"loss": tf.add_n(list(losses.values())), **losses})

    def evaluate(self, x=None, y=None, callbacks=None, return_dict=False, **kwargs):
        """Mean losses over a dataset (for AP see ``kdet.evaluation.evaluate``).

        Returns:
            A list, total loss first, or with ``return_dict`` a dict by name.
        """
        means = _MeanLogs()
        if isinstance(callbacks, keras.callbacks.CallbackList):  # the one of a running fit
            callbacks.append(means)
        else:
            callbacks = [means, *(callbacks or [])]
        try:
            super().evaluate(x, y, callbacks=callbacks, return_dict=True, **kwargs)
        finally:
            if isinstance(callbacks, keras.callbacks.CallbackList):
                callbacks.callbacks.remove(means)
        found = means.result()
        return found if return_dict else list(found.values())

    def _logs(self, losses):
        """Losses in the form in which Keras can average them over the replicas."""
        if isinstance(self.distribute_strategy, tf.distribute.MultiWorkerMirroredStrategy):
            return {name: value[None] for name, value in losses.items()}
        return losses


class _MeanLogs(keras.callbacks.Callback):
    def on_test_begin(self, logs=None):
        self._sums, self._batches = {}, 0

    def on_test_batch_end(self, batch, logs=None):
        self._batches += 1
        for name, value in (logs or {}).items():
            self._sums[name] = self._sums.get(name, 0.0) + float(value)

    def result(self):
        return {name: total / self._batches for name, total in self._sums.items()}


def _finite_checks(losses):
    return [
        tf.debugging.check_numerics(value, f"{name} is NaN or infinite") for name, value in losses.items()
    ]
