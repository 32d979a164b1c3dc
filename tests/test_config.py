"""Recipes: inheritance, overrides, checks and building."""

from typing import Literal

import pytest

from kdet import registry
from kdet.config import Config, ConfigError, build, recipes


@registry.register
class ExampleNeck(registry.Component):
    def __init__(self, channels, levels=3, norm: Literal["batch", "group"] = "batch", relu=True):
        if levels < 1:
            raise ValueError(f"levels must be positive, got {levels}.")
        self.channels, self.levels, self.norm, self.relu = channels, levels, norm, relu


@registry.register
class ExampleDetector(registry.Component):
    def __init__(self, neck, parts=(), size=None, score=0.5):
        self.neck, self.parts, self.size, self.score = neck, parts, size, score


@registry.register
class ExampleHead(registry.Component):
    def __init__(self, num_classes):
        self.num_classes = num_classes


MODEL = """
model:
  type: ExampleDetector
  neck: {type: ExampleNeck, channels: 16}
"""


def write(folder, name, text):
    path = folder / name
    path.parent.mkdir(exist_ok=True, parents=True)
    path.write_text(text)
    return path


def load(folder, text, overrides=None):
    return Config.load(write(folder, "recipe.yaml", text), overrides)


def test_a_mapping_goes_into_every_element_of_a_list_of_mappings(tmp_path):
    write(tmp_path, "a.yaml", "model: {parts: [{norm: {kind: bn}, size: 1}, {size: 2}]}")
    write(tmp_path, "b.yaml", "_base_: a.yaml\nmodel: {parts: {type: Part, norm: {eps: 3}}}")
    write(tmp_path, "c.yaml", "_base_: b.yaml\nmodel: {parts: {size: 4}}")
    text = "_base_: c.yaml\nmodel: {parts: {0: {extra: 5}}}"
    config = Config.load(write(tmp_path, "d.yaml", text), check=False)
    assert config["model"]["parts"] == [
        {"norm": {"kind": "bn", "eps": 3}, "size": 4, "type": "Part", "extra": 5},
        {"norm": {"eps": 3}, "size": 4, "type": "Part"},
    ]
    assert config.origin(("model", "parts", "1", "size")).endswith("c.yaml")
    assert config.origin(("model", "parts", "1", "norm", "eps")).endswith("b.yaml")
    assert config.origin(("model", "parts", "0", "norm", "kind")).endswith("a.yaml")
    assert config.origin(("model", "parts", "0", "extra")).endswith("d.yaml")
    with pytest.raises(ConfigError, match="parts.2: the base has a list of 2"):
        load(tmp_path, "_base_: a.yaml\nmodel: {parts: {2: {size: 1}}}")


STEPS = "data: {train: {transforms: [{type: Resize, sizes: [[9, 8]], mode: fixed}, {type: RandomFlip}]}}"


def test_elements_of_a_list_are_changed_and_taken_out_by_their_type(tmp_path):
    write(tmp_path, "a.yaml", STEPS)
    write(tmp_path, "b.yaml", "data: {train: {transforms: {Resize: {sizes: [[6, 4]]}}}}")
    text = "_base_: [a.yaml, b.yaml]\ndata: {train: {transforms: {RandomFlip: {probability: 1}}}}"
    config = Config.load(write(tmp_path, "c.yaml", text), check=False)
    resize = {"type": "Resize", "sizes": [[6, 4]], "mode": "fixed"}
    transforms = ("data", "train", "transforms")
    assert config["data"]["train"]["transforms"] == [resize, {"type": "RandomFlip", "probability": 1}]
    assert config.origin((*transforms, "0", "sizes")).endswith("b.yaml")
    assert config.origin((*transforms, "0", "mode")).endswith("a.yaml")
    assert config.origin((*transforms, "1", "probability")).endswith("c.yaml")
    text = "_base_: a.yaml\ndata: {train: {transforms: {Resize: null, RandomFlip: {probability: 2}}}}"
    config = Config.load(write(tmp_path, "d.yaml", text), check=False)
    assert config["data"]["train"]["transforms"] == [{"type": "RandomFlip", "probability": 2}]
    assert config.origin((*transforms, "0", "probability")).endswith("d.yaml")
    with pytest.raises(ConfigError, match="d.yaml: data.train.transforms.0.probability .*from 0 to 1"):
        config.check()
    with pytest.raises(
        ConfigError, match="transforms.Shift: the base has no Shift here, but Resize, RandomFl"
    ):
        load(tmp_path, "_base_: a.yaml\ndata: {train: {transforms: {Shift: {max_pixels: 3}}}}")


def test_overrides_name_elements_by_their_type(tmp_path):
    path = write(tmp_path, "a.yaml", STEPS)
    overrides = ["data.train.transforms.Resize.sizes=[[6, 4]]", "data.train.transforms.RandomFlip=null"]
    config = Config.load(path, overrides, check=False)
    resize = {"type": "Resize", "sizes": [[6, 4]], "mode": "fixed"}
    assert config["data"]["train"]["transforms"] == [resize]
    with pytest.raises(ConfigError, match="--set data.train.transforms.Resize.mode: data.*0.mode .*'fixd'"):
        Config.load(path, {"data.train.transforms.Resize.mode": "fixd"})
    with pytest.raises(ConfigError, match="the list holds Resize, RandomFlip, no Shift"):
        Config.load(path, {"data.train.transforms.Shift.max_pixels": 3})


def test_delete_works_through_a_file_that_has_nothing_to_delete(tmp_path):
    write(tmp_path, "a.yaml", "model: {neck: {type: A, channels: 3}}")
    write(tmp_path, "mixin.yaml", "model: {neck: {_delete_: true, type: B}}")
    text = "_base_: [a.yaml, mixin.yaml]\nmodel: {neck: {levels: 2}}"
    config = Config.load(write(tmp_path, "c.yaml", text), check=False)
    assert config == {"model": {"neck": {"type": "B", "levels": 2}}}


def test_bases_merge_in_order_and_the_file_wins(tmp_path):
    write(tmp_path, "base/a.yaml", "train: {epochs: 12, seed: 35, optimizer: {type: SGD, momentum: 0.9}}")
    write(tmp_path, "base/b.yaml", "train: {epochs: 24, schedule: {steps: [8, 11]}}")
    text = "_base_: [base/a.yaml, base/b.yaml]\ntrain: {seed: 1, schedule: {steps: [16]}}"
    assert load(tmp_path, text) == {
        "train": {
            "epochs": 24,
            "seed": 1,
            "optimizer": {"type": "SGD", "momentum": 0.9},
            "schedule": {"steps": [16]},
        }
    }


def test_delete_replaces_a_mapping(tmp_path):
    write(tmp_path, "base.yaml", "metadata: {a: {x: 1, y: 2}, b: {z: {w: 3}}}")
    config = load(tmp_path, "_base_: base.yaml\nmetadata: {a: {_delete_: true, y: 5}, b: {z: 0}}")
    assert config["metadata"] == {"a": {"y": 5}, "b": {"z": 0}}


def test_delete_in_one_base_drops_what_the_bases_before_it_say(tmp_path):
    write(tmp_path, "base/a.yaml", "metadata: {a: {x: 1}, b: {z: 3}}")
    write(tmp_path, "base/b.yaml", "metadata: {a: {_delete_: true, y: 5}}")
    config = load(tmp_path, "_base_: [base/a.yaml, base/b.yaml]\nmetadata: {a: {w: 0}}")
    assert config["metadata"] == {"a": {"y": 5, "w": 0}, "b": {"z": 3}}


def test_relative_bases_of_bases_and_origins(tmp_path):
    write(tmp_path, "deep/er/model.yaml", MODEL)
    write(tmp_path, "deep/mid.yaml", "_base_: er/model.yaml\nmodel: {score: 0.1}")
    config = load(tmp_path, "_base_: deep/mid.yaml\nmodel: {neck: {levels: 5}}", ["model.size=[4, 5]"])
    assert config["model"]["neck"] == {"type": "ExampleNeck", "channels": 16, "levels": 5}
    assert config.origin(("model", "neck", "channels")).endswith("er/model.yaml")
    assert config.origin(("model", "score")).endswith("mid.yaml")
    assert config.origin(("model", "neck", "levels")).endswith("recipe.yaml")
    assert config.origin(("model", "size")) == "--set model.size"


def test_a_base_may_be_a_recipe_of_the_zoo(tmp_path):
    config = load(tmp_path, "_base_: faster_rcnn_r50_fpn_1x_coco\ntrain: {epochs: 3}")
    assert config["model"]["roi_head"]["bbox_head"]["num_classes"] == 80
    assert config["train"]["epochs"] == 3 and "metadata" not in config
    with pytest.raises(ConfigError, match="_base_: there is no file faster_rcnn_r50_fnp_1x.*r50_fpn_1x"):
        load(tmp_path, "_base_: faster_rcnn_r50_fnp_1x")


def test_scientific_numbers_are_numbers(tmp_path):
    config = load(tmp_path, "metadata: {a: 1e-4, b: 5E+2, c: 0.02, d: e4}")
    assert config["metadata"] == {"a": 1e-4, "b": 500.0, "c": 0.02, "d": "e4"}


def test_yaml_merges_the_mapping_of_an_alias(tmp_path):
    config = load(tmp_path, "metadata: {a: &a {b: 1, c: 2}, d: {<<: *a, c: 3}}")
    assert config["metadata"]["d"] == {"b": 1, "c": 3}


@pytest.mark.parametrize(
    "text, message",
    [
        ("_base_: nothing.yaml", "recipe.yaml: _base_: there is no file nothing.yaml"),
        ("_base_: recipe.yaml", "circle"),
        ("a: [", "recipe.yaml: not valid YAML"),
        ("- 1", "a config is a mapping"),
        ("train: {epochs: 1, epochs: 2}", "recipe.yaml: not valid YAML: the key 'epochs' stands twice"),
        ("train: {{epochs}: 1}", "recipe.yaml: not valid YAML: a key is one word or number"),
        ("trian: {epochs: 1}", "recipe.yaml: trian: unknown section. Did you mean 'train'?"),
        ("train: {epoch: 1}", "recipe.yaml: train.epoch: unknown key. Did you mean 'epochs'?"),
        ("train: {epochs: many}", "train.epochs: expected int, got 'many'"),
        ("train: {precision: float23}", "train.precision: unknown value 'float23'. Did you mean 'float32'?"),
        (
            "train: {schedule: {type: StpeDecay}}",
            "train.schedule.type: No Schedule is registered as 'StpeDecay'. Did you mean 'StepDecay'",
        ),
        ("train: {optimizer: 1}", "train.optimizer: expected a mapping with a `type`"),
        ("data: {train: {transforms: [null]}}", "transforms.0: expected a mapping with a `type`, got None"),
        ("data: {train: {image: x}}", "data.train.image: unknown key. Did you mean 'images'?"),
        ("model: {neck: 1}", "model: has no `type`"),
    ],
)
def test_errors_of_files_and_sections(tmp_path, text, message):
    with pytest.raises(ConfigError) as error:
        load(tmp_path, text)
    assert message in str(error.value)


@pytest.mark.parametrize(
    "overrides, message",
    [
        ({"model.neck.type": "ExampelNeck"}, "model.neck.type: No class is registered under the type"),
        ({"model.neck.type": "ExampelNeck"}, "Did you mean ExampleNeck"),
        ({"model.neck.level": 4}, "model.neck.level: unknown keyword of ExampleNeck. Did you mean 'levels'?"),
        ({"model.neck.levels": "four"}, "model.neck.levels (ExampleNeck): expected a number, got 'four'"),
        ({"model.neck.relu": 3}, "model.neck.relu (ExampleNeck): expected true or false, got 3"),
        (
            {"model.neck.norm": "grop"},
            "model.neck.norm (ExampleNeck): unknown value 'grop'. Did you mean 'group'?",
        ),
        ({"model.neck": {"type": "ExampleNeck"}}, "model.neck (ExampleNeck): missing channels"),
        ({"model.parts": [{"type": "Nothing"}]}, "model.parts.0.type: No class"),
        ({"model.nekc.levels": 4}, "there is no model.nekc. Did you mean 'neck'?"),
        ({"model.score.x.y": 1}, "model.score is the value 0.1, not a mapping"),
        ({"model.parts.1": 1}, "this is a list of 1, '1' no index"),
        (["model.neck.levels"], "An override looks like key.path=value"),
        (["model.neck.levels=[1"], "not valid YAML"),
    ],
)
def test_errors_of_models_name_the_key_and_the_nearest(tmp_path, overrides, message):
    path = write(tmp_path, "recipe.yaml", MODEL + "  score: 0.1\n  parts: [1]\n")
    with pytest.raises(ConfigError) as error:
        Config.load(path, overrides)
    assert message in str(error.value)


def test_all_problems_are_listed_with_their_files(tmp_path):
    write(tmp_path, "base.yaml", MODEL + "  scoer: 0.1\n")
    with pytest.raises(ConfigError) as error:
        load(tmp_path, "_base_: base.yaml\nmodel: {neck: {chanels: 3}}\ntrain: {epoch: 2}")
    lines = str(error.value).splitlines()
    assert len(lines) == 3
    assert "base.yaml: model.scoer" in str(error.value)
    assert "recipe.yaml: model.neck.chanels" in str(error.value)


def test_overrides_set_values_lists_and_new_keys(tmp_path):
    text = MODEL + "  parts: [1, 2, {a: 3}]\n"
    config = load(tmp_path, text, ["model.parts.1=7", "model.parts.2.a=1e-3", "model.neck.norm=group"])
    assert config["model"]["parts"] == [1, 7, {"a": 1e-3}]
    assert config["model"]["neck"]["norm"] == "group"
    assert load(tmp_path, text, {"train.optimizer.momentum": 0.8})["train"] == {
        "optimizer": {"momentum": 0.8}
    }


def test_num_classes_reaches_down_to_the_parts_that_have_it(tmp_path):
    base = "model: {type: ExampleDetector, neck: {type: ExampleHead, num_classes: 80}, parts: [1]}"
    for override in ("model.num_classes=3", "model.neck.num_classes=3"):
        config = load(tmp_path, base, [override])
        assert config["model"]["neck"] == {"type": "ExampleHead", "num_classes": 3}
        assert "num_classes" not in config["model"]
    heads = "parts: [{type: ExampleHead, num_classes: 80}, {type: ExampleHead, num_classes: 183}]"
    config = load(tmp_path, base.replace("parts: [1]", heads), {"model.num_classes": 3})
    assert [part["num_classes"] for part in config["model"]["parts"]] == [3, 183]
    with pytest.raises(ConfigError, match="model.neck.num_classes: unknown keyword of ExampleNeck"):
        load(tmp_path, MODEL, ["model.neck.num_classes=3"])


def test_build_is_innermost_first_and_plain_values_pass(tmp_path):
    text = MODEL + "  parts: [{type: ExampleNeck, channels: 1}, 4, {x: 2}]\n"
    model = load(tmp_path, text).build()
    assert isinstance(model, ExampleDetector) and isinstance(model.neck, ExampleNeck)
    assert model.neck.channels == 16 and model.parts[0].channels == 1
    assert model.parts[1:] == [4, {"x": 2}]


def test_a_value_that_the_class_refuses_names_its_place(tmp_path):
    config = load(tmp_path, MODEL, ["model.neck.levels=0"])
    with pytest.raises(ConfigError, match=r"model\.neck \(ExampleNeck\): levels must be positive, got 0"):
        config.build()
    with pytest.raises(ConfigError, match="missing channels"):
        build({"type": "ExampleNeck"})


def test_a_saved_recipe_reads_back_equal(tmp_path):
    config = load(tmp_path, MODEL, ["train.optimizer.learning_rate=1e-4", "data.classes=['a', 'b']"])
    config.save(tmp_path / "copy.yaml")
    assert Config.load(tmp_path / "copy.yaml") == config
    # in the order of the recipe
    assert (tmp_path / "copy.yaml").read_text().startswith("model:\n  type: ExampleDetector\n  neck:\n")


def test_unknown_names_and_files_suggest():
    with pytest.raises(ConfigError, match="no such file"):
        Config.load("nothing_like_this")
    with pytest.raises(ConfigError, match="There is no config file nowhere/x.yaml"):
        Config.load("nowhere/x.yaml")


def test_names_of_recipes_are_the_callers_own():
    names = recipes()
    path = names.pop("retinanet_r50_fpn_1x")
    assert path.is_file() and recipes()["retinanet_r50_fpn_1x"] == path


def test_what_a_file_takes_away_is_of_that_file(tmp_path):
    write(tmp_path, "a.yaml", "model: {neck: {channels: 16}, head: {units: 1}}")
    child = write(tmp_path, "b.yaml", "_base_: a.yaml\nmodel: {neck: {_delete_: true, levels: 3}, head: 5}")
    config = Config.load(child, check=False)
    assert config["model"] == {"neck": {"levels": 3}, "head": 5}
    for key in ("neck", "channels"), ("neck", "levels"), ("head", "units"):
        assert config.origin(("model", *key)) == str(child)
