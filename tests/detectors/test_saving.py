"""Files of detectors: whole on every version of Keras, or refused by name."""

import json
import shutil
import warnings
import zipfile

import h5py
import keras
import numpy as np
import pytest
import tensorflow as tf

from kdet import compat, convert
from kdet.config import Config
from kdet.convert import keras_files
from kdet.layers import Composite, Linear, composite
from kdet.train.checkpoints import Checkpoints
from kdet.train.optimizers import SGD
from verification.check_saving import losses
from verification.small import small_variant

# one of every shape of detector, and those whose layers stand in nested lists and dicts
MODELS = (
    "grid_rcnn_r50_fpn_gn-head_2x",
    "dynamic_rcnn_r50_fpn_1x",
    "deformable_detr_twostage_refine_r50_16x2_50e",
    "cornernet_hourglass104_mstest_8x6_210e",
    "ssd300",
    "mask_rcnn_r50_fpg-chn128_crop640_50e",
)
IMAGES = tf.constant(np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3)), tf.uint8)
TARGETS = {"boxes": tf.constant([[[8.0, 8, 40, 40]]] * 2), "labels": tf.constant([[0]] * 2)}


def build(name="retinanet_r18_fpn_1x", **overrides):
    config = small_variant(Config.load(name), divide=8)
    config.override(overrides)
    return config.build("model")


@pytest.mark.parametrize("name", MODELS)
def test_every_way_of_saving_keeps_every_weight(name):
    assert losses(build(name)) == {}


@pytest.fixture(scope="module")
def model():
    """A compiled detector with slots and averages of its weights, after one step."""
    model = build()
    model.compile(keras.optimizers.AdamW(0.01, use_ema=True))
    model.train_on_batch(IMAGES, TARGETS)
    return model


@pytest.fixture(scope="module")
def saved(model, tmp_path_factory):
    path = tmp_path_factory.mktemp("saved") / "a.weights.h5"
    model.save_weights(path)
    return path


@pytest.fixture
def damaged(saved, tmp_path):
    """Makes a copy of the file in which a function has changed something."""

    def change(function):
        path = tmp_path / "damaged.weights.h5"
        shutil.copy(saved, path)
        with h5py.File(path, "r+") as file:
            function(file)
        return path

    return change


def test_a_compiled_detector_loads_compiled_and_goes_on_training(tmp_path):
    model = build()
    model.compile(SGD(learning_rate=0.01, parameters={"norm_decay_mult": 0.0}, weight_decay=0.1))
    model.train_on_batch(IMAGES, TARGETS)
    model.save(tmp_path / "model.keras")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        again = keras.models.load_model(tmp_path / "model.keras")
    assert again.compiled and int(again.optimizer.iterations) == 1
    for one in (model, again):
        one.train_on_batch(IMAGES, TARGETS)
    for ours, theirs in zip(model.weights, again.weights, strict=True):
        np.testing.assert_allclose(theirs, ours, rtol=1e-5, atol=1e-6, err_msg=ours.path)


def test_slots_and_averages_come_back(model, saved):
    other = build()
    other.compile(keras.optimizers.AdamW(0.01, use_ema=True))
    other.load_weights(saved)
    ours, theirs = model.optimizer.variables, other.optimizer.variables
    assert len(ours) == len(theirs) > 3 * len(model.trainable_variables)
    for one, two in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(one, two)


def test_files_in_parts_are_whole_or_refused(model, tmp_path):
    path = tmp_path / "parts.weights.json"
    model.save_weights(path, max_shard_size=0.004)
    assert len(list(tmp_path.glob("*.h5"))) > 1
    other = build()  # without an optimizer
    other.load_weights(path)
    for ours, theirs in zip(model.weights, other.weights, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    content = json.loads(path.read_text())
    groups = content["weight_map"]
    (group,) = (group for group in groups if group.strip("/") == "backbone/conv1/vars")
    content["weight_map"] = {**groups, "/backbone/conv9/vars": groups[group]}
    path.write_text(json.dumps(content))
    with pytest.raises(convert.IncompleteWeights, match=r"1 of the file .*backbone/conv9/vars"):
        other.load_weights(path)
    content["weight_map"] = {name: part for name, part in groups.items() if name != group}
    path.write_text(json.dumps(content))
    with pytest.raises(convert.IncompleteWeights, match=r"1 of the model .*backbone/conv1/vars"):
        other.load_weights(path)


def test_weights_alone_fill_a_compiled_model_but_are_no_checkpoint(model, tmp_path):
    plain = build()
    plain.save_weights(tmp_path / "step_00000003.weights.h5")
    with pytest.raises(convert.IncompleteWeights, match="holds no optimizer"):
        Checkpoints(tmp_path).restore(model)
    other = build()
    other.compile(SGD())
    other.load_weights(tmp_path / "step_00000003.weights.h5")
    np.testing.assert_array_equal(other.weights[0], plain.weights[0])


def test_a_missing_layer_is_named_and_the_model_stays(damaged):
    path = damaged(lambda file: file.pop("backbone/conv1"))
    other = build()
    before = [weight.numpy() for weight in other.weights]
    with pytest.raises(convert.IncompleteWeights, match=r"1 of the model .* backbone\.conv1\.weight.*skip"):
        other.load_weights(path)
    assert all((a == b.numpy()).all() for a, b in zip(before, other.weights, strict=True))


def test_what_is_there_can_be_loaded(model, damaged, caplog):
    path = damaged(lambda file: file.pop("backbone/conv1"))
    other = build()
    kept = other.backbone.conv1.kernel.numpy()
    other.load_weights(path, skip_mismatch=True)
    assert "fills a part" in caplog.text and "backbone.conv1.weight" in caplog.text
    np.testing.assert_array_equal(other.backbone.conv1.kernel, kept)
    np.testing.assert_array_equal(other.backbone.bn1.gamma, model.backbone.bn1.gamma)
    report = convert.load_file(other, path, allow_mismatch=True)
    assert report.unfilled == ("backbone.conv1.weight",) and report.filled == len(other.weights) - 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda file: file.copy("backbone/conv1", "backbone/conv9"),
            "1 of the file .*: backbone/conv9/vars/0",
        ),
        (lambda file: file.pop("optimizer/vars/7"), "1 of the model .*: optimizer/vars/7"),
    ],
)
def test_surplus_and_missing_slots_are_refused(model, damaged, change, message):
    other = build()
    other.compile(keras.optimizers.AdamW(0.01, use_ema=True))
    with pytest.raises(convert.IncompleteWeights, match=message):
        other.load_weights(damaged(change))


def test_another_number_of_classes_is_refused_with_both_shapes(saved):
    other = build(**{"model.num_classes": 5})
    with pytest.raises(convert.IncompleteWeights, match=r"retina_cls.*\(file \(.*27\), model \(.*45\)"):
        other.load_weights(saved)


def test_an_archive_without_a_weight_is_refused_by_load_model(model, tmp_path):
    model.save(tmp_path / "whole.keras")
    with zipfile.ZipFile(tmp_path / "whole.keras") as archive:
        archive.extractall(tmp_path / "parts")
    with h5py.File(tmp_path / "parts" / "model.weights.h5", "r+") as file:
        file.pop("bbox_head/cls_convs")
    with zipfile.ZipFile(tmp_path / "cut.keras", "w") as archive:
        for name in ("metadata.json", "config.json", "model.weights.h5"):
            archive.write(tmp_path / "parts" / name, name)
    with pytest.raises(ValueError, match="does not fit the model"):
        keras.models.load_model(tmp_path / "cut.keras")


def test_a_save_that_would_lose_a_weight_fails_whatever_way_it_goes(model, tmp_path, monkeypatch):
    real = compat.stored_values

    def forgetful(model):
        return {path: value for path, value in real(model).items() if not path.startswith("bbox_head/")}

    monkeypatch.setattr(compat, "stored_values", forgetful)
    for save in (
        lambda: model.save_weights(tmp_path / "a.weights.h5"),
        lambda: keras.saving.save_model(model, tmp_path / "a.keras"),
    ):
        with pytest.raises(
            convert.IncompleteWeights, match=r"would not save 20 of .* bbox_head\.cls_convs\.0"
        ):
            save()


class LateRows(Composite):
    """Appends to a list that is an attribute already, where ``Composite`` sees nothing of it."""

    def __init__(self):
        super().__init__()
        self.rows = []
        self.rows.append([Linear(2)])

    def call(self, x):
        return self.rows[0][0](x)


def test_a_save_that_another_version_of_keras_would_cut_fails_with_this_one(tmp_path):
    inputs = keras.Input([3])
    model = keras.Model(inputs, LateRows()(inputs))
    with pytest.raises(convert.IncompleteWeights, match=r"would not save 2 of the 2 .*assigned whole"):
        keras_files.expected_shapes(model)


def test_an_old_file_format_of_keras_is_refused_before_it_is_written(model, tmp_path):
    with pytest.raises(ValueError, match=r"m\.h5: a detector is saved as a \.keras file"):
        model.save(tmp_path / "m.h5")
    assert not (tmp_path / "m.h5").exists()


def test_files_from_before_inner_lists_were_layers(tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(composite, "wrap_inner", lambda value: value)  # inner lists are plain lists
        patch.setattr(keras_files, "expected_shapes", lambda model: {})  # nobody looks
        patch.setattr(keras_files, "check_file", lambda *arguments: None)
        before = build("ssd300")
        before.save_weights(tmp_path / "old.weights.h5")
    other = build("ssd300")
    if compat.KERAS < (3, 15):  # these left out what is in inner lists
        with pytest.raises(convert.IncompleteWeights, match="older kdet under a Keras before 3.15"):
            other.load_weights(tmp_path / "old.weights.h5")
        return
    with h5py.File(tmp_path / "old.weights.h5") as file:
        assert any("/container" in path for path in keras_files.file_shapes(file))
    other.load_weights(tmp_path / "old.weights.h5")
    for ours, theirs in zip(before.weights, other.weights, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_a_teacher_is_no_part_of_what_is_saved(tmp_path):
    model, teacher = build("ld_r18_gflv1_r101_fpn_coco_1x"), build()
    names = list(convert.torch_items(model))
    model.attach_teacher(teacher)
    assert list(convert.torch_items(model)) == names
    model.save_weights(tmp_path / "a.weights.h5")
    other = build("ld_r18_gflv1_r101_fpn_coco_1x")
    other.load_weights(tmp_path / "a.weights.h5")
    np.testing.assert_array_equal(other.weights[0], model.weights[0])
