"""The notebooks run from top to bottom: a small detector, drawn images, no network.

Cells are executed here in one process, for a kernel each would import TensorFlow anew. The cell tagged
"install" is left out, and that tagged "parameters" is followed by those of the test. ``!kdet`` calls the
command.
"""

import json
import pathlib
import shlex

import matplotlib
import pytest

from kdet.cli import main
from kdet.curation.shapes import draw_shapes

ROOT = pathlib.Path(__file__).resolve().parents[2]
FOLDER = ROOT / "docs" / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
RECIPE = "mask_rcnn_r18_fpn_1x"
SETTINGS = {
    "model.backbone.base_channels": 8,
    "model.backbone.frozen_stages": -1,
    "model.backbone.norm_eval": False,
    "model.backbone.pretrained": None,
    "model.neck.out_channels": 16,
    "model.rpn_head.filters": 16,
    "model.roi_head.bbox_head.fc_units": 16,
    "model.roi_head.mask_head.num_convs": 1,
    "model.roi_head.mask_head.filters": 8,
    "model.roi_head.postprocess.score_threshold": 0.001,
    "model.roi_head.postprocess.max_per_image": 5,
    "model.preprocessor.size": [96, 96],
    "data.train.transforms.Resize.sizes": [[96, 96]],
    "data.val.transforms.Resize.sizes": [[96, 96]],
    "train.initial": None,
    "train.epochs": 1,
    "train.batch_size": 4,
}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Where the notebooks run, one after the other, as they follow one another."""
    folder = tmp_path_factory.mktemp("notebooks")
    draw_shapes(folder / "shapes", train=8, val=4)
    return folder


def cells(notebook):
    """``[(kind, tags, text), ...]`` of the file."""
    content = json.loads(notebook.read_text(encoding="utf-8"))
    assert content["nbformat"] == 4
    return [
        (cell["cell_type"], cell["metadata"].get("tags", []), "".join(cell["source"]))
        for cell in content["cells"]
    ]


def parameters(notebook):
    if notebook.name.startswith("1"):
        return {"RECIPE": RECIPE, "WEIGHTS": None, "IMAGES": ["shapes/images/val/0000.png"]}
    return {"RECIPE": RECIPE, "SETTINGS": SETTINGS}


def run_cell(text, names, where):
    """Executes a cell as a notebook does: shell lines with the variables in braces, the rest as Python."""
    if text.startswith("!"):
        program, *arguments = shlex.split(text[1:].format(**names))
        assert program == "kdet"
        main(arguments)
    else:
        exec(compile(text, where, "exec"), names)


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs(notebook, place, monkeypatch):
    matplotlib.use("Agg")
    monkeypatch.chdir(place)
    names = {"__name__": "__main__"}
    ran = 0
    for number, (kind, tags, text) in enumerate(cells(notebook)):
        if kind != "code" or "install" in tags:
            continue
        run_cell(text, names, f"{notebook.name}, cell {number}")
        ran += 1
        if "parameters" in tags:
            assert parameters(notebook).keys() <= names.keys(), "the notebook has other parameters"
            names.update(parameters(notebook))
    assert ran >= 5


def test_they_are_all_there_and_ready_for_a_stranger():
    assert [path.stem[0] for path in NOTEBOOKS] == ["1", "2", "3", "4"]
    for notebook in NOTEBOOKS:
        content = json.loads(notebook.read_text(encoding="utf-8"))
        code = [cell for cell in content["cells"] if cell["cell_type"] == "code"]
        assert "".join(code[0]["source"]).startswith("%pip install"), notebook.name
        assert not any(cell["outputs"] for cell in code), f"{notebook.name}: clear its outputs"
