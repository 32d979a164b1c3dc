"""Averaged weights, accumulated gradients, the best weights and an early end; also through a resume."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf

from kdet.config import Config, ConfigError
from kdet.registry import register
from kdet.settings import Train
from kdet.train import SGD, AdamW, EarlyStopping, SaveBest, averaged, engine, section
from tests.train.run_engine import write_data, write_recipe


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    write_data(folder)
    return write_recipe(folder)


def net(optimizer):
    keras.utils.set_random_seed(1)
    model = keras.Sequential([keras.layers.Input([3]), keras.layers.Dense(4, "tanh"), keras.layers.Dense(1)])
    model.compile(optimizer=optimizer, loss="mse")
    return model


def examples(count=8):
    random = np.random.default_rng(0)
    return random.normal(size=(count, 3)).astype(np.float32), random.normal(size=(count, 1)).astype(
        np.float32
    )


@pytest.mark.parametrize("kind", [SGD, AdamW])
def test_two_batches_of_two_are_one_of_four(kind):
    x, y = examples()
    one, two = net(kind(0.05)), net(kind(0.05, gradient_accumulation_steps=2))
    one.fit(x, y, batch_size=4, epochs=3, shuffle=False, verbose=0)
    two.fit(x, y, batch_size=2, epochs=3, shuffle=False, verbose=0)
    assert int(one.optimizer.iterations) == int(two.optimizer.iterations) == 6
    for a, b in zip(one.weights, two.weights, strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), atol=1e-6)


def test_averages_by_hand():
    """w is 1 and loses the rate at every step: 0.9, 0.8, 0.7; the average starts with the first."""
    weight = keras.Variable(1.0)
    optimizer = SGD(0.1, momentum=0.0, use_ema=True, ema_momentum=0.75)
    optimizer.build([weight])
    for _ in range(3):
        optimizer.apply([tf.constant(1.0)], [weight])
    (average,) = (v for v in optimizer.variables if "average" in v.path)
    second = 0.75 * 0.9 + 0.25 * 0.8
    np.testing.assert_allclose(average.numpy(), 0.75 * second + 0.25 * 0.7, rtol=1e-6)


def test_averages_that_follow_at_first_by_hand():
    weight = keras.Variable(1.0)
    optimizer = SGD(0.1, momentum=0.0, use_ema=True, ema_momentum=0.75, ema_ramp_steps=2)
    optimizer.build([weight])
    for _ in range(3):
        optimizer.apply([tf.constant(1.0)], [weight])
    (average,) = (v for v in optimizer.variables if "average" in v.path)
    shares = [0.75 * (1 - np.exp(-(step + 1) / 2)) for step in (1, 2)]
    second = shares[0] * 0.9 + (1 - shares[0]) * 0.8
    np.testing.assert_allclose(average.numpy(), shares[1] * second + (1 - shares[1]) * 0.7, rtol=1e-6)
    again = SGD.from_config(optimizer.get_config())
    assert again.ema_ramp_steps == 2 and again.ema_momentum == 0.75


def test_a_model_uses_its_averages_for_a_while():
    x, y = examples()
    model = net(SGD(0.1, use_ema=True, ema_momentum=0.9, ema_finalize=False))
    model.fit(x, y, batch_size=4, epochs=2, verbose=0)
    before = [w.numpy() for w in model.trainable_weights]
    averages = [v.numpy() for v in model.optimizer.variables if "average" in v.path]
    with averaged(model):
        for weight, average in zip(model.trainable_weights, averages, strict=True):
            np.testing.assert_array_equal(weight.numpy(), average)
    for weight, value in zip(model.trainable_weights, before, strict=True):
        np.testing.assert_array_equal(weight.numpy(), value)
    assert any((a != b).any() for a, b in zip(averages, before, strict=True))
    usual = net(SGD(0.1, use_ema=True, ema_momentum=0.9))  # as in Keras: fit ends with the averages
    usual.fit(x, y, batch_size=4, epochs=2, verbose=0)
    for weight, average in zip(usual.trainable_weights, averages, strict=True):
        np.testing.assert_allclose(weight.numpy(), average, atol=1e-7)


SETTINGS = {
    "train.ema": {"momentum": 0.8},
    "train.accumulate": 2,
    "train.epochs": 3,
    "train.evaluate_every": 1,
    "train.save_best": "val/bbox/AP",
    "train.save_every": 1,
}


class Stop(keras.callbacks.Callback):
    """Ends a run in the middle, as a kill would."""

    def __init__(self, after):
        super().__init__()
        self.after = after

    def on_train_batch_end(self, batch, logs=None):
        self.after -= 1
        if not self.after:
            raise KeyboardInterrupt


def test_a_resumed_run_is_the_uninterrupted_one(recipe, tmp_path):
    config = Config.load(recipe, SETTINGS)
    whole, history = engine.train(config, tmp_path / "whole", "one", verbose=0)
    with pytest.raises(
        KeyboardInterrupt
    ):  # in the middle of an epoch and of two batches that belong together
        engine.train(config, tmp_path / "parts", "one", verbose=0, callbacks=[Stop(5)])
    parts, rest = engine.train(config, tmp_path / "parts", "one", resume=True, verbose=0)
    assert int(whole.optimizer.iterations) == int(parts.optimizer.iterations) == 4  # of nine batches
    for one, two in zip(
        [*whole.weights, *whole.optimizer.variables],
        [*parts.weights, *parts.optimizer.variables],
        strict=True,
    ):
        np.testing.assert_array_equal(one.numpy(), two.numpy(), one.path)
    for key in ("val/bbox/AP", "val/bbox/AP50"):
        np.testing.assert_equal(history[-1][key], rest[-1][key])
    averages = [v.numpy() for v in whole.optimizer.variables if "average" in v.path]
    for weight, average in zip(whole.trainable_weights, averages, strict=True):
        np.testing.assert_array_equal(weight.numpy(), average)  # what is exported
    fresh = config.build("model")
    fresh.load_weights(tmp_path / "whole" / "final.weights.h5")
    for one, two in zip(fresh.trainable_weights, averages, strict=True):
        np.testing.assert_array_equal(one.numpy(), two)
    assert (tmp_path / "whole" / "best.weights.h5").is_file()


def stopped_at(callback, values, past=()):
    """The number of values after which the callback ends the training."""

    class Model:
        stop_training = False

    model = Model()
    callback.set_model(model)
    callback.remember([{"val/bbox/AP": value} for value in past])
    callback.on_train_begin()
    for number, value in enumerate(values, 1):
        callback.on_epoch_end(number - 1, {} if value is None else {"val/bbox/AP": value})
        if model.stop_training:
            return number
    return None


def test_early_stopping_counts_evaluations():
    values = [0.1, 0.3, None, 0.2, float("nan"), 0.3, 0.1]
    assert stopped_at(EarlyStopping(patience=2), values) == 6
    assert stopped_at(EarlyStopping(patience=3), values) == 7
    assert stopped_at(EarlyStopping(patience=2), values[3:], past=[0.1, 0.3]) == 3  # as without the resume
    assert stopped_at(EarlyStopping(patience=2, min_delta=0.25), [0.1, 0.3, 0.34]) == 3
    assert stopped_at(EarlyStopping("loss", patience=1), [None]) is None


def test_a_resume_after_an_early_end_trains_nothing(recipe, tmp_path, caplog):
    stop = {"type": "EarlyStopping", "monitor": "loss", "patience": 1, "min_delta": 1e6}
    changes = {"train.callbacks": [stop], "train.epochs": 4, "train.evaluate_every": 0}
    config = Config.load(recipe, changes)
    first, history = engine.train(config, tmp_path / "run", "one", verbose=0)
    assert len(history) == 2
    again, rest = engine.train(config, tmp_path / "run", "one", resume=True, verbose=0)
    assert rest == [] and int(again.optimizer.iterations) == int(first.optimizer.iterations)
    assert "EarlyStopping ended the run in" in caplog.text and "after epoch 2, as loss got" in caplog.text
    for one, two in zip(first.weights, again.weights, strict=True):
        np.testing.assert_array_equal(one.numpy(), two.numpy())
    stop["patience"] = 2
    _, rest = engine.train(Config.load(recipe, changes), tmp_path / "run", "one", resume=True, verbose=0)
    assert [line["epoch"] for line in rest] == [3]


def test_save_best_keeps_the_best(tmp_path):
    saver, model = SaveBest(str(tmp_path / "best.weights.h5"), "loss"), net(SGD(0.1))
    saver.set_model(model)
    saver.on_train_begin()
    for number, loss in enumerate([3.0, 1.0, 2.0]):
        model.layers[0].bias.assign(np.full(4, number, np.float32))
        saver.on_epoch_end(number, {"loss": loss})
    model.load_weights(tmp_path / "best.weights.h5")
    assert (model.layers[0].bias.numpy() == 1).all() and saver.best == 1.0
    saver.remember([{"loss": 0.5}])
    saver.on_train_begin()
    model.layers[0].bias.assign(np.full(4, 9, np.float32))
    saver.on_epoch_end(3, {"loss": 0.7})
    model.load_weights(tmp_path / "best.weights.h5")
    assert (model.layers[0].bias.numpy() == 1).all()


def test_figures_that_never_come_are_said(recipe, tmp_path, caplog):
    saver = SaveBest(str(tmp_path / "best.weights.h5"), "val/bbox/APP")
    saver.set_model(net(SGD(0.1)))
    saver.on_train_begin()
    saver.on_epoch_end(0, {"loss": 1.0, "val/bbox/AP": 0.1})
    saver.on_train_end()
    assert "SaveBest found no val/bbox/APP in the log. Did you mean 'val/bbox/AP'" in caplog.text
    config = Config.load(recipe, {"train.save_best": "val/bbox/AP", "train.evaluate_every": 0})
    with pytest.raises(ValueError, match="SaveBest watches val/bbox/AP, but nothing is evaluated"):
        engine.train(config, tmp_path / "run", "one")


@register
class CountEpochs(keras.callbacks.Callback):
    seen = []

    def __init__(self, label: str):
        super().__init__()
        self.label = label

    def on_epoch_end(self, epoch, logs=None):
        self.seen.append((self.label, epoch, "loss" in logs))


def test_callbacks_of_a_recipe(recipe, tmp_path):
    callbacks = [
        {"type": "CountEpochs", "label": "mine"},
        {"type": "CSVLogger", "filename": str(tmp_path / "log.csv")},
        {"type": "EarlyStopping", "monitor": "loss", "patience": 1, "min_delta": 1e6},
    ]
    config = Config.load(recipe, {"train.callbacks": callbacks, "train.epochs": 5, "train.evaluate_every": 0})
    _, history = engine.train(config, tmp_path / "run", "one", verbose=0)
    assert len(history) == 2  # the second epoch is no better by a million
    assert CountEpochs.seen == [("mine", 0, True), ("mine", 1, True)]
    assert (tmp_path / "log.csv").read_text().startswith("epoch,")
    lines = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines] == [1, 2]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"train.callbacks": [{"type": "EarlyStoping"}]}, "No Callback is registered as 'EarlyStoping'. Did"),
        ({"train.callbacks": [{"type": "EarlyStopping", "patience": 0}]}, r"patience .*from 1 on, got 0"),
        ({"train.callbacks": [{"type": "CSVLogger"}]}, "missing filename"),
        ({"train.optimizer.use_ema": True}, "train.optimizer.use_ema: unknown keyword of SGD"),
        ({"train.optimizer.momentum": 2}, r"train.optimizer.momentum \(SGD\): expected a number from 0 to 1"),
        ({"train.ema": {"momentun": 0.9}}, "train.ema.momentun: unknown key. Did you mean 'momentum'"),
        ({"train.ema": True}, "train.ema: expected a mapping with momentum"),
        ({"train.schedule.type": "step"}, "No Schedule is registered as 'step'. It is called StepDecay now"),
        ({"train.accumulate": 0}, "train.accumulate: expected"),
    ],
)
def test_wrong_settings_are_explained(recipe, changes, words):
    with pytest.raises(ConfigError, match=words):
        Config.load(recipe, changes)


def test_the_schedule_and_the_rate_count_whole_steps():
    settings = Train(
        batch_size=4,
        accumulate=4,
        optimizer={"learning_rate": 0.02, "base_batch_size": 16},
        schedule={"steps": [1]},
    )
    optimizer = section.make_optimizer(settings, steps_per_epoch=40)
    assert float(optimizer.learning_rate) == pytest.approx(0.02)
    schedule = section.make_optimizer(settings, steps_per_epoch=40)._learning_rate
    assert [float(schedule(step)) for step in (9, 10)] == pytest.approx([0.02, 0.002])
