"""``fit`` with validation data and every callback of Keras, on the tiny detector of the engine's tests."""

import inspect

import keras
import numpy as np
import pytest
import tensorflow as tf
import yaml

from kdet.config import build
from kdet.train import SGD
from tests.train.run_engine import MODEL

# needs a package of its own (orbax), or is given to others, not to fit
LEFT_OUT = {"Callback", "CallbackList", "MonitorCallback", "OrbaxCheckpoint"}
CALLBACKS = {
    "BackupAndRestore": lambda folder: {"backup_dir": folder / "backup"},
    "CSVLogger": lambda folder: {"filename": folder / "log.csv"},
    "EarlyStopping": lambda folder: {"monitor": "val_loss", "restore_best_weights": True},
    "History": lambda folder: {},
    "LambdaCallback": lambda folder: {"on_epoch_end": lambda epoch, logs: None},
    "LearningRateScheduler": lambda folder: {"schedule": lambda epoch, rate: rate / 2},
    "ModelCheckpoint": lambda folder: {"filepath": folder / "best.keras", "save_best_only": True},
    "ProgbarLogger": lambda folder: {},
    "ReduceLROnPlateau": lambda folder: {"monitor": "val_loss", "min_delta": 1e9, "patience": 1},
    "RemoteMonitor": lambda folder: {"root": "http://localhost:1"},
    "SwapEMAWeights": lambda folder: {"swap_on_epoch": True},
    "TensorBoard": lambda folder: {"log_dir": folder / "board"},
    "TerminateOnNaN": lambda folder: {},
}


@pytest.fixture(scope="module")
def model():
    model = build(yaml.safe_load(MODEL)["model"])
    model.compile(SGD(0.001))
    return model


@pytest.fixture(scope="module")
def arrays():
    """Six images of 64x64 with one object each, as NumPy arrays."""
    images = np.random.default_rng(0).integers(0, 256, (6, 64, 64, 3)).astype(np.uint8)
    boxes = np.tile(np.float32([[[8, 8, 40, 40]]]), (6, 1, 1))
    return images, {"boxes": boxes, "labels": np.zeros((6, 1), np.int32)}


class Recorder(keras.callbacks.Callback):
    """Keeps what Keras reports of every batch."""

    def on_train_begin(self, logs=None):
        self.train, self.test = [], []

    def on_train_batch_end(self, batch, logs=None):
        self.train.append(logs)

    def on_test_batch_end(self, batch, logs=None):
        self.test.append(logs)


def test_the_table_names_every_callback():
    known = {name for name, one in vars(keras.callbacks).items() if inspect.isclass(one)}
    assert known - LEFT_OUT == set(CALLBACKS)


@pytest.mark.parametrize("name", sorted(set(CALLBACKS) - {"SwapEMAWeights"}))
def test_every_callback_with_validation_data(model, arrays, tmp_path, name):
    if name == "TensorBoard":
        pytest.importorskip("tensorboard", reason="TensorFlow's summaries need it")
    model.optimizer.learning_rate = 0.001
    callback = getattr(keras.callbacks, name)(**CALLBACKS[name](tmp_path))
    images, targets = arrays
    few = images[:2], {k: v[:2] for k, v in targets.items()}
    found = model.fit(
        images[:4], {k: v[:4] for k, v in targets.items()}, batch_size=2, epochs=2, verbose=0,
        validation_data=few, callbacks=[callback],
    )  # fmt: skip
    assert len(found.history["val_loss"]) == 2 and np.isfinite(found.history["val_loss"]).all()
    own = [v for k, v in found.history.items() if k.startswith("val_loss_")]
    np.testing.assert_allclose(np.sum(own, 0), found.history["val_loss"], rtol=1e-5)
    rate = {"LearningRateScheduler": 0.00025, "ReduceLROnPlateau": 0.0001}.get(name, 0.001)
    assert float(model.optimizer.learning_rate) == pytest.approx(rate)
    files = {"BackupAndRestore": 0, "CSVLogger": 1, "ModelCheckpoint": 1, "TensorBoard": 2}
    assert len([p for p in tmp_path.rglob("*") if p.is_file()]) >= files.get(name, 0)
    if name == "CSVLogger":
        assert "val_loss" in (tmp_path / "log.csv").read_text().splitlines()[0]


def test_averaged_weights_are_swapped_in(arrays):
    model = build(yaml.safe_load(MODEL)["model"])
    model.compile(keras.optimizers.SGD(0.001, use_ema=True, ema_momentum=0.5))
    found = model.fit(
        *arrays, batch_size=2, verbose=0, validation_split=0.33,
        callbacks=[keras.callbacks.SwapEMAWeights(swap_on_epoch=True)],
    )  # fmt: skip
    assert np.isfinite(found.history["val_loss"]).all()


def test_history_holds_the_means_of_the_epoch(model, arrays):
    recorder, ends = Recorder(), []
    seen = keras.callbacks.LambdaCallback(on_train_end=lambda logs: ends.append(logs))
    found = model.fit(
        *arrays, batch_size=2, verbose=0, validation_data=arrays, callbacks=[recorder, seen]
    ).history  # fmt: skip
    assert len(recorder.train) == len(recorder.test) == 3
    for name in ("loss", "loss_cls", "loss_rpn_bbox"):
        assert found[name] == [pytest.approx(np.mean([one[name] for one in recorder.train]))]
        assert found[f"val_{name}"] == [pytest.approx(np.mean([one[name] for one in recorder.test]))]
        assert ends[0][name] == pytest.approx(found[name][0])
    assert len({one["loss"] for one in recorder.train}) == 3  # the last is not the mean
    scores = model.evaluate(*arrays, batch_size=2, verbose=0)
    named = model.evaluate(*arrays, batch_size=2, verbose=0, return_dict=True)
    assert scores[0] == pytest.approx(named["loss"], rel=0.2) and list(named)[0] == "loss"


def test_a_callback_list_is_taken_too(model, arrays):
    recorder = Recorder()
    callbacks = keras.callbacks.CallbackList([recorder], add_history=True, model=model, epochs=1, steps=3)
    history = model.fit(*arrays, batch_size=2, verbose=0, callbacks=callbacks).history
    assert history["loss"] == [pytest.approx(np.mean([one["loss"] for one in recorder.train]))]


@pytest.mark.parametrize(
    "given, message",
    [
        ({"epochs": 0}, "epochs must be a whole number from 1 on; got 0"),
        ({"epochs": 2.5}, "epochs must be a whole number from 1 on; got 2.5"),
        ({"epochs": True}, "epochs must be a whole number from 1 on; got True"),
        ({"steps_per_epoch": 0}, "steps_per_epoch must be a whole number from 1 on; got 0"),
        ({"batch_size": 0}, "batch_size must be a whole number from 1 on; got 0"),
        ({"batch_size": "2"}, "batch_size must be a whole number from 1 on; got '2'"),
        ({"initial_epoch": -1}, "initial_epoch must be a whole number from 0 on; got -1"),
        ({"validation_split": float("nan")}, "validation_split must be from 0 to below 1; got nan"),
        ({"validation_split": 1}, "validation_split must be from 0 to below 1; got 1"),
        ({"callbacks": [3]}, "callbacks must hold objects of keras.callbacks.Callback; got 3"),
        ({"initial_epoch": 2, "epochs": 2}, "initial_epoch=2 leaves nothing of epochs=2"),
        ({"sample_weight": np.ones(6)}, "take no sample_weight"),
        ({"class_weight": {0: 2.0}}, "take no class_weight"),
    ],
)
def test_what_fit_refuses(model, arrays, given, message):
    with pytest.raises(ValueError, match=message):
        model.fit(*arrays, verbose=0, **given)


def test_images_and_losses_that_are_not_finite_are_named(model, arrays):
    images, targets = arrays
    broken = np.array(images, np.float32)
    broken[0, 0, 0, 0] = np.nan
    with pytest.raises(ValueError, match="The images hold NaN or infinite values"):
        model.fit(broken, targets, batch_size=2, shuffle=False, verbose=0)
    before = [weight.numpy() for weight in model.trainable_weights]
    weight = model.trainable_weights[-1]
    weight.assign(np.full(weight.shape, np.nan))
    with pytest.raises(FloatingPointError, match="^loss_.* is NaN or infinite; the weights are those"):
        model.fit(images, targets, batch_size=2, verbose=0)
    weight.assign(before[-1])
    for one, two in zip(model.trainable_weights, before, strict=True):
        np.testing.assert_array_equal(one.numpy(), two)


def test_an_empty_data_set_is_no_epoch(model, arrays):
    with pytest.raises(ValueError, match="fit saw no batch in epoch 1"):
        model.fit(tf.data.Dataset.from_tensor_slices(arrays).batch(2).take(0), verbose=0)


def test_sample_weights_in_the_data_are_refused(model, arrays):
    data = tf.data.Dataset.from_tensor_slices((*arrays, np.ones(6))).batch(2)
    with pytest.raises(ValueError, match="take no sample_weight"):
        model.fit(data, verbose=0)


@pytest.mark.parametrize("name", ["loss", "loss_weights", "metrics", "weighted_metrics"])
def test_compile_refuses_losses_and_metrics(model, name):
    with pytest.raises(ValueError, match=f"compile takes no {name}: a detector brings its losses"):
        model.compile("sgd", **{name: ["mse"]})


def test_labels_outside_of_the_classes_end_fit(model, arrays):
    images, targets = arrays
    wrong = {**targets, "labels": targets["labels"] + 2}
    with pytest.raises(
        ValueError, match="labels from 2 to 2, but the model has 2 classes: .* 0 to 1"
    ) as caught:
        model.fit(images, wrong, batch_size=2, verbose=0)
    assert "Graph execution" not in str(caught.value)
    with pytest.raises(ValueError, match="labels from 2 to 2, but the model has 2 classes"):
        model.evaluate(images, wrong, batch_size=2, verbose=0)
    with pytest.raises(ValueError, match="labels from 2 to 2, but the model has 2 classes"):
        model.train_on_batch(images[:2], {key: value[:2] for key, value in wrong.items()})


def test_every_form_of_targets_trains_alike(model, arrays):
    images, targets = arrays
    ragged = {
        "boxes": tf.RaggedTensor.from_tensor(targets["boxes"].astype(np.float64)),
        "labels": tf.RaggedTensor.from_tensor(targets["labels"].astype(np.int64)),
    }
    integers = {"boxes": targets["boxes"].astype(np.int64), "labels": targets["labels"].astype(np.float32)}
    for given in (integers, ragged):
        data = tf.data.Dataset.from_tensor_slices((images, given)).batch(2)
        wanted = model.compute_losses(images[:2], {k: v[:2] for k, v in targets.items()})
        found = model.compute_losses(*next(iter(data)))
        assert {k: float(v) for k, v in found.items()} == {k: float(v) for k, v in wanted.items()}
        model.fit(data, steps_per_epoch=1, verbose=0)


def test_a_frozen_model_says_so(arrays):
    model = build(yaml.safe_load(MODEL)["model"])
    model.trainable = False
    model.compile(SGD(0.001))
    with pytest.raises(ValueError, match="Nothing can be trained: every weight is frozen"):
        model.fit(*arrays, batch_size=2, verbose=0)
