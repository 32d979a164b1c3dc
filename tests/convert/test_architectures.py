"""Recipes against the names and shapes of the published checkpoints, and what the tools make of them.

``architectures.json.gz`` holds ``{recipe: {torch name: shape}}`` as the reference's models report them.
"""

import gzip
import importlib.util
import json
import pathlib

import numpy as np
import pytest

from kdet import convert, zoo
from kdet.config import Config, recipes
from kdet.convert import cache
from kdet.convert.pretrained import resolve
from kdet.convert.pth_writer import write_pth

TESTS = pathlib.Path(__file__).parents[1]
ARCHITECTURES = json.loads(gzip.open(TESTS / "assets" / "checkpoints" / "architectures.json.gz").read())


def tool(name):
    spec = importlib.util.spec_from_file_location(name, TESTS.parent / "tools" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_tensor_of_the_published_model_has_its_place(name):
    model = zoo.load(name, weights=None)
    shapes = ARCHITECTURES[name]
    state = {key: np.broadcast_to(np.float32(0), shape) for key, shape in shapes.items()}
    report = convert.load_state_dict(model, state)
    assert not report.renamed and not report.unfilled and not report.left_over
    ours = {key: list(slot.shape) for key, slot in convert.torch_items(model).items()}
    assert ours == {key: shape for key, shape in shapes.items() if not key.endswith("num_batches_tracked")}


def test_recipes_name_known_pretrained_files():
    sources = set()
    for path in recipes().values():
        model = Config.load(path, check=False).get("model", {})
        sources.update(source for _, source in convert.load._pretrained_parts(model, ()))
    assert len(sources) > 5
    assert all(resolve(source).startswith("https://") for source in sources)


def test_tools_there_and_back(tmp_path, capsys, refused):
    recipe = "retinanet_r18_fpn_1x"
    source = zoo.load(recipe, weights=None, num_classes=2)
    state = convert.state_dict(source)
    tree = {"meta": {"CLASSES": ("cat", "dog"), "mmdet_version": "2.28.2"}, "state_dict": state}
    write_pth(tmp_path / "epoch_1.pth", tree)
    convert_tool, export_tool = tool("convert_checkpoint"), tool("export_checkpoint")
    convert_tool.main([str(tmp_path / "epoch_1.pth"), "--config", recipe])
    weights, back = tmp_path / "epoch_1.weights.h5", tmp_path / "back.pth"
    export = [str(weights), "--config", recipe, "--num-classes", "2", "--out", str(back)]
    export_tool.main([*export, "--classes", "cat", "dog"])
    assert f"{len(state)} tensors" in capsys.readouterr().out
    again = convert.read_checkpoint(back)
    assert again.classes == ("cat", "dog") and set(again.state_dict) == set(state)
    for name, array in state.items():
        np.testing.assert_array_equal(np.asarray(again.state_dict[name]), array, err_msg=name)
    arguments = [str(tmp_path / "epoch_1.pth"), "--config", "faster_rcnn_r18_fpn_1x"]
    assert "unfilled in the model" in refused(convert_tool.main, arguments)


def test_converted_file_holds_every_variable(tmp_path):
    model = zoo.load("faster_rcnn_r18_fpn_1x", weights=None)
    cache.save_weights(model, tmp_path / "w.safetensors")
    before = [v.numpy() for v in model.weights]
    for variable in model.weights:
        variable.assign(variable * 0 - 1)
    assert cache.load_weights(model, tmp_path / "w.safetensors")
    for variable, value in zip(model.weights, before):
        np.testing.assert_array_equal(variable.numpy(), value, err_msg=variable.path)
