"""``--resume`` under other settings, classes that do not agree, and runs in which nothing is left to do."""

import json
import logging

import pytest

from kdet import evaluation, zoo
from kdet.config import Config
from kdet.train import engine, facts
from tests.train.run_engine import write_data, write_recipe

QUICK = {"train.epochs": 1, "train.evaluate_every": 0, "train.save_every": 0}


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    write_data(folder)
    return write_recipe(folder)


@pytest.fixture(scope="module")
def run(recipe, tmp_path_factory):
    """A finished run of three steps."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    model, _ = engine.train(Config.load(recipe, QUICK), folder, "one", verbose=0)
    return folder, model


def other_data(recipe, tmp_path, change):
    """The recipe's data section over changed annotations."""
    content = json.loads((recipe.parent / "data.json").read_text())
    change(content)
    (tmp_path / "data.json").write_text(json.dumps(content))
    return str(tmp_path / "data.json")


def swap_names(content):
    content["categories"] = [{"id": 1, "name": "b"}, {"id": 2, "name": "a"}]


def move_a_box(content):
    content["annotations"][0]["bbox"][0] += 1


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"train.batch_size": 2}, "has batch_size 4, this run 2: steps count batches"),
        ({"train.seed": 1}, "has seed 0, this run 1"),
        ({"data.train.limit": 8}, "has images 12, this run 8"),
        (
            swap_names,
            "label 0 is 'a' in the checkpoint .* but 'b' in data.train .the same names in another order",
        ),
        (move_a_box, "the training data are not those of the run"),
    ],
)
def test_resume_under_other_settings_is_refused(recipe, run, tmp_path, changes, message):
    if callable(changes):
        changes = {"data.train.annotations": other_data(recipe, tmp_path, changes)}
    with pytest.raises(ValueError, match=message):
        engine.train(Config.load(recipe, {**QUICK, **changes}), run[0], "one", resume=True, verbose=0)


def test_a_finished_run_and_one_without_checkpoints_say_so(recipe, run, tmp_path, caplog):
    with caplog.at_level(logging.WARNING, "kdet"):
        _, history = engine.train(Config.load(recipe, QUICK), run[0], "one", resume=True, verbose=0)
    assert history == [] and "Nothing is left to train" in caplog.text
    caplog.clear()
    with caplog.at_level(logging.WARNING, "kdet"):
        engine.train(Config.load(recipe, QUICK), tmp_path / "new", "one", resume=True, verbose=0)
    assert "holds no checkpoint to resume" in caplog.text


def test_names_are_stored_with_model_and_weights(run):
    folder, model = run
    assert model.class_names == ["a", "b"] and model.get_config()["class_names"] == ["a", "b"]
    assert facts.read(folder / "final.weights.h5")["class_names"] == ["a", "b"]
    assert facts.read(folder / "checkpoints/step_00000003.weights.h5")["batch_size"] == 4
    with pytest.raises(ValueError, match="has 2 classes but 3 class_names"):
        model.class_names = ["a", "b", "c"]
    model.class_names = ["a", "b"]


def test_weights_bring_their_names_along(recipe, run):
    weights = run[0] / "final.weights.h5"
    assert zoo.load(str(recipe), weights=weights).class_names == ["a", "b"]
    with pytest.raises(ValueError, match="label 0 is 'a' in the weights .* but 'b' in the recipe"):
        zoo.load(str(recipe), weights=weights, **{"data.classes": ["b", "a"]})


def test_train_and_val_name_the_same_classes(recipe, tmp_path):
    changes = {**QUICK, "train.evaluate_every": 1}
    changes["data.val.annotations"] = other_data(recipe, tmp_path, swap_names)
    with pytest.raises(ValueError, match="label 0 is 'a' in data.train but 'b' in data.val"):
        engine.train(Config.load(recipe, changes), tmp_path / "run", "one", verbose=0)


def test_model_and_data_name_the_same_classes(recipe, run, tmp_path):
    config = Config.load(recipe, {"data.val.annotations": other_data(recipe, tmp_path, swap_names)})
    with pytest.raises(ValueError, match="label 0 is 'a' in the model but 'b' in the data set"):
        evaluation.evaluate(run[1], engine.load_data(config, "val", 4))


@pytest.mark.parametrize("key", ["epochs", "batch_size", "log_every"])
def test_zero_is_refused(recipe, tmp_path, key):
    with pytest.raises(ValueError, match=f"train.{key}: expected a whole number from 1 on, got 0"):
        engine.train(Config.load(recipe, {f"train.{key}": 0}), tmp_path / "run", "one", verbose=0)


def test_an_empty_validation_section_is_found_when_the_recipe_is_read(recipe):
    with pytest.raises(ValueError, match="data.val is empty .null.: describe the data, or leave the key"):
        Config.load(recipe, {"data.val": None})
