"""Parts of the engine in this process, on the tiny detector of ``run_engine.py``."""

import json
import os
import pathlib
import signal
import threading

import h5py
import keras
import numpy as np
import pytest
import tensorflow as tf

from kdet.config import Config
from kdet.convert import keras_files, snapshots
from kdet.errors import CheckpointError, Stopped, WriteError
from kdet.settings import Train
from kdet.train import engine, facts, section
from kdet.train.callbacks import lines_before
from kdet.train.checkpoints import Checkpoints
from kdet.train.optimizers import SGD, AdamW, LossScaleOptimizer
from kdet.train.strategy import make_strategy, require_static, worker
from kdet.train.tensorboard import EventWriter
from tests.train.run_engine import write_data, write_recipe


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    write_data(folder)
    return write_recipe(folder)


@pytest.fixture
def float32_again():
    yield
    keras.config.set_dtype_policy("float32")


def events_in(folder):
    """``{tag: (step, value)}`` of the event files in a folder."""
    events = {}
    for file in folder.iterdir():
        for record in tf.data.TFRecordDataset(str(file)):
            event = tf.compat.v1.Event.FromString(record.numpy())
            events.update({v.tag: (event.step, v) for v in event.summary.value})
    return events


def settings(**changes):
    return Train(schedule={"type": "StepDecay", "steps": [8]}, **changes)


def test_the_optimizer_of_a_recipe():
    spec = {
        "type": "SGD",
        "learning_rate": 0.02,
        "momentum": 0.8,
        "weight_decay": 1e-4,
        "base_batch_size": 16,
    }
    optimizer = section.make_optimizer(settings(optimizer=spec, batch_size=4, clip=35.0), steps_per_epoch=10)
    assert type(optimizer) is SGD and optimizer.momentum == 0.8 and optimizer.global_clipnorm == 35.0
    assert float(optimizer.learning_rate) == pytest.approx(0.005)
    spec = {"type": "AdamW", "learning_rate": 1e-4, "parameters": {"norm_decay_mult": 0.0}}
    assert type(section.make_optimizer(settings(optimizer=spec), 10)) is AdamW
    scaled = section.make_optimizer(settings(precision="mixed_float16", loss_scale=512.0), 10)
    assert type(scaled) is LossScaleOptimizer and scaled.initial_scale == 512.0
    with pytest.raises(ValueError, match="train.optimizer.type: No Optimizer is registered as 'Lion'"):
        section.make_optimizer(settings(optimizer={"type": "Lion"}), 10)


def test_training_scores_and_logs(recipe, tmp_path):
    overrides = {"train.evaluate_every": 2, "train.epochs": 2}
    model, history = engine.train(Config.load(recipe, overrides), tmp_path / "run", "one", verbose=0)
    assert [line["epoch"] for line in history] == [1, 2]
    assert "val/bbox/AP" in history[1] and "val/bbox/AP" not in history[0]
    assert history[0]["loss"] == pytest.approx(
        sum(v for k, v in history[0].items() if k.startswith("loss_")), rel=1e-5
    )
    assert {"train/loss", "train/learning_rate", "val/bbox/AP", "val/detections/0"} <= set(
        events_in(tmp_path / "run/tensorboard")
    )
    # one graph for training and one for evaluation, however many epochs
    assert model._inference.count == 1
    found = model.evaluate(
        engine.load_data(Config.load(recipe), "val", 4).dataset(), return_dict=True, verbose=0
    )
    assert found["loss"] == pytest.approx(sum(v for k, v in found.items() if k != "loss"), rel=1e-5)
    frozen = [v for v in model.backbone.conv1.variables]
    assert not frozen[0].trainable and not model.backbone.bn1.trainable
    with pytest.raises(ValueError, match="already holds checkpoints"):
        engine.train(Config.load(recipe, overrides), tmp_path / "run", "one")


def test_one_trace_per_shape(recipe):
    config = Config.load(recipe)
    model = config.build("model")
    model.compile(optimizer=SGD(0.01))
    traces = []
    step = model.train_step
    model.train_step = lambda data: (traces.append(1), step(data))[1]
    pipeline = engine.load_data(config, "train", 2)
    model.fit(pipeline.dataset(), epochs=2, steps_per_epoch=2, verbose=0, shuffle=False)
    model.fit(pipeline.dataset(skip=4), epochs=1, steps_per_epoch=2, verbose=0, shuffle=False)
    assert len(traces) == 1


def test_a_loss_that_is_nan_is_named(recipe, tmp_path):
    config = Config.load(recipe)
    model = config.build("model")
    model.compile(optimizer=SGD(0.01))
    before = [v.numpy() for v in model.trainable_variables if "rpn" not in v.path]
    bias = model.rpn_head.rpn_reg.bias
    bias.assign(tf.fill(bias.shape, np.nan))
    data = engine.load_data(config, "train", 2).dataset()
    with pytest.raises(FloatingPointError, match="after 0 optimizer steps: loss_rpn_bbox is NaN or infinite"):
        with engine.named_failure(model):
            model.fit(data, steps_per_epoch=1, verbose=0, shuffle=False)
    after = [v.numpy() for v in model.trainable_variables if "rpn" not in v.path]
    assert all((a == b).all() for a, b in zip(before, after))


@pytest.mark.parametrize("precision", ["mixed_float16", "mixed_bfloat16"])
def test_mixed_precision(recipe, precision, float32_again):
    keras.config.set_dtype_policy(precision)
    config = Config.load(recipe)
    model = config.build("model")
    model.compile(optimizer=section.make_optimizer(settings(precision=precision, batch_size=2), 10))
    data = engine.load_data(config, "train", 2).dataset()
    losses = model.fit(data, steps_per_epoch=2, verbose=0, shuffle=False).history
    assert np.isfinite(losses["loss"]).all()
    assert all(v.dtype == "float32" for v in model.trainable_variables)
    assert isinstance(model.optimizer, LossScaleOptimizer) == (precision == "mixed_float16")


def test_checkpoints_are_replaced_whole_and_pruned(tmp_path):
    model = keras.Sequential([keras.layers.Input([2]), keras.layers.Dense(1)])
    model.compile(optimizer=SGD(0.1))
    checkpoints = Checkpoints(tmp_path / "c", keep=2)
    assert checkpoints.restore(model) == 0
    model.optimizer.build(model.trainable_variables)
    for step in (5, 10, 15):
        model.optimizer.momentums[0].assign(tf.fill([2, 1], float(step)))
        checkpoints.save(model, step)
    (tmp_path / "c" / "part_1.weights.h5").write_bytes(b"what a kill left behind")
    assert checkpoints.steps() == [10, 15]
    fresh = keras.models.clone_model(model)
    fresh.compile(optimizer=SGD(0.1))
    assert checkpoints.restore(fresh) == 15
    np.testing.assert_array_equal(fresh.optimizer.momentums[0].numpy(), [[15.0], [15.0]])


def test_a_checkpoint_is_what_the_weights_were_when_it_was_asked_for(tmp_path, monkeypatch):
    model = keras.Sequential([keras.layers.Input([2]), keras.layers.Dense(1)])
    model.compile(optimizer=SGD(0.1, momentum=0.5))
    model.optimizer.build(model.trainable_variables)
    kernel = model.weights[0].numpy()
    checkpoints, go, write = Checkpoints(tmp_path), threading.Event(), snapshots.write
    monkeypatch.setattr(snapshots, "write", lambda *given: (go.wait(30), write(*given)))
    checkpoints.start_saving(model, 4)
    assert checkpoints.steps() == []
    model.weights[0].assign(kernel + 1.0)
    go.set()
    checkpoints.wait()
    assert checkpoints.steps() == [4] and checkpoints.restore(model) == 4
    np.testing.assert_array_equal(model.weights[0], kernel)
    model.save_weights(tmp_path / "keras.weights.h5")
    with h5py.File(checkpoints.path(4)) as ours, h5py.File(tmp_path / "keras.weights.h5") as theirs:
        assert keras_files.file_shapes(ours) == keras_files.file_shapes(theirs)


def test_a_checkpoint_that_cannot_be_written_ends_the_run(tmp_path, monkeypatch):
    model = keras.Sequential([keras.layers.Input([2]), keras.layers.Dense(1)])
    model.compile(optimizer=SGD(0.1))

    def fail(path, values):
        raise WriteError(f"{path} cannot be written: no space left on device.")

    monkeypatch.setattr(snapshots, "write", fail)
    checkpoints = Checkpoints(tmp_path)
    checkpoints.start_saving(model, 4)
    with pytest.raises(WriteError, match="no space left"):
        checkpoints.wait()
    checkpoints.wait()  # said once


def test_event_files_hold_scalars_and_images(tmp_path):
    writer = EventWriter(tmp_path)
    writer.scalars({"train/loss": 1.5}, step=3)
    writer.images("val/detections", [np.full((4, 6, 3), 7, np.uint8)], step=3)
    writer.flush()
    events = events_in(tmp_path)
    step, value = events["train/loss"]
    assert step == 3 and tf.make_ndarray(value.tensor) == 1.5
    assert value.metadata.plugin_data.plugin_name == "scalars"
    width, height, encoded = tf.make_ndarray(events["val/detections/0"][1].tensor)
    assert (width, height) == (b"6", b"4") and (tf.io.decode_png(encoded).numpy() == 7).all()


def test_a_full_disk_ends_the_events_with_a_sentence(tmp_path, monkeypatch):
    if not pathlib.Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    record_writer = tf.io.TFRecordWriter
    monkeypatch.setattr(tf.io, "TFRecordWriter", lambda path: record_writer("/dev/full"))
    writer = EventWriter(tmp_path / "tensorboard")
    with pytest.raises(WriteError, match="tensorboard cannot be written: .*o space left.* Free some room"):
        for step in range(3):
            writer.images("sheet", [np.zeros([300, 300, 3], np.uint8)], step)
            writer.flush()
    (tmp_path / "file").touch()
    with pytest.raises(WriteError, match="cannot be written: (Not a directory|File exists)"):
        EventWriter(tmp_path / "file" / "tensorboard").scalars({"loss": 1.0}, 1)


def test_a_tpu_that_is_not_there(monkeypatch):
    monkeypatch.delenv("TPU_NAME", raising=False)
    with pytest.raises(ValueError, match="strategy 'tpu' finds no TPU.*TPU_NAME.*--strategy auto"):
        make_strategy("tpu")
    monkeypatch.setenv("TPU_NAME", "local")
    with pytest.raises(ValueError, match="strategy 'tpu' cannot use the TPU 'local'"):
        make_strategy("tpu")


def test_tpus_take_one_shape():
    one = {"images": tf.TensorSpec([2, 64, 96, 3])}, {"boxes": tf.TensorSpec([2, 5, 4])}
    require_static(one)
    with pytest.raises(ValueError, match=r"images come as \(2, None, 96, 3\).*data.train.buckets"):
        require_static(({"images": tf.TensorSpec([2, None, 96, 3])}, one[1]))


def test_strategies(monkeypatch):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    assert worker() == (0, 1) and make_strategy("auto").num_replicas_in_sync == 1
    with pytest.raises(ValueError, match="needs the environment variable TF_CONFIG"):
        make_strategy("multiworker")
    with pytest.raises(ValueError, match="must be one of auto, one, mirrored, multiworker, tpu; got 'two'"):
        make_strategy("two")
    cluster = {"chief": ["a:1"], "worker": ["b:1", "c:1"]}
    monkeypatch.setenv("TF_CONFIG", json.dumps({"cluster": cluster, "task": {"type": "worker", "index": 1}}))
    assert worker() == (2, 3)
    monkeypatch.setenv("TF_CONFIG", "{")
    with pytest.raises(ValueError, match="TF_CONFIG is not valid JSON"):
        worker()


def test_a_signal_ends_a_run_that_can_be_resumed(recipe, tmp_path):
    class Preempt(keras.callbacks.Callback):
        def on_train_batch_begin(self, batch, logs=None):
            os.kill(os.getpid(), signal.SIGTERM)

    config = Config.load(recipe, {"train.evaluate_every": None, "train.epochs": 1, "train.save_every": 2})
    with pytest.raises(Stopped, match="SIGTERM ended the run at step 1; step_00000001"):
        engine.train(config, tmp_path / "run", "one", callbacks=[Preempt()], verbose=0)
    assert Checkpoints(tmp_path / "run/checkpoints").steps() == [1]
    model, history = engine.train(config, tmp_path / "run", "one", resume=True, verbose=0)
    assert int(model.optimizer.iterations) == 3 and [line["epoch"] for line in history] == [1]


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ("no json", "TF_CONFIG is not valid JSON"),
        ("[1]", r"TF_CONFIG must be a mapping; got \[1\]"),
        ('{"cluster": 3}', "TF_CONFIG must list addresses; got 3"),
        ('{"cluster": {"worker": "a:1"}}', "TF_CONFIG must list addresses"),
        ('{"cluster": {"worker": ["a:1"]}, "task": {"type": "worker", "index": 1}}', "none of its 1"),
        (
            '{"cluster": {"worker": ["a:1"]}, "task": {"type": "worker", "index": "0"}}',
            "none of its 1",
        ),
        ('{"cluster": {"worker": ["a:1"]}, "task": "worker"}', "none of its 1"),
    ],
)
def test_a_cluster_that_cannot_be_used_is_named(monkeypatch, config, message):
    monkeypatch.setenv("TF_CONFIG", config)
    with pytest.raises(ValueError, match=message):
        worker()


def test_lines_of_the_log_that_are_none_are_passed_over(tmp_path):
    path = tmp_path / "log.jsonl"
    assert lines_before(path, 3) == []
    lines = ['{"epoch": 1, "loss": 2.0, "val/bbox/AP": null}', "[]", '{"epoch": "2"}', '{"epoch": 2, "lo']
    path.write_text("\n".join(lines))
    assert lines_before(path, 3) == [{"epoch": 1, "loss": 2.0}]


def test_facts_that_are_damaged_are_named(tmp_path):
    path = tmp_path / "a.weights.h5"
    with h5py.File(path, "w") as file:
        file.attrs[facts.ATTRIBUTE] = "{"
    with pytest.raises(CheckpointError, match="a.weights.h5 is damaged: what it says about its run"):
        facts.read(path)
