"""Records what the packages of LVIS and Cityscapes say of the scenes of scenes.py.

    pip install --no-deps lvis==0.5.3 cityscapesscripts==2.3.0 && python -m tests.evaluation.record

Both packages call functions that NumPy has dropped, and import what they do not need here; stand-ins for
these make them run.
"""

import copy
import json
import os
import pathlib
import sys
import tempfile
import types

import numpy as np
from PIL import Image

from tests.evaluation import scenes

HERE = pathlib.Path(__file__).parent


def lvis_figures(truth, results, metric):
    np.float = float
    sys.modules["lvis.vis"] = types.SimpleNamespace(LVISVis=None)
    from lvis import LVIS, LVISEval, LVISResults

    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump(truth, file)
        file.flush()
        loaded = LVIS(file.name)
    evaluator = LVISEval(loaded, LVISResults(loaded, copy.deepcopy(results)), metric)
    evaluator.run()
    return {key.removesuffix("@300"): float(value) for key, value in evaluator.get_results().items()}


def city_figures(maps, predictions):
    np.in1d = lambda values, test: np.isin(np.ravel(values), test)
    sys.modules["pyquaternion"] = types.SimpleNamespace(Quaternion=None)
    from cityscapesscripts.evaluation import evalInstanceLevelSemanticLabeling as package

    package.writeDict2JSON = lambda *_: None
    with tempfile.TemporaryDirectory() as root:
        truths, texts = scenes.write_city(maps, root), []
        for i, found in enumerate(predictions):
            lines = []
            for k, (mask, label, score) in enumerate(found):
                Image.fromarray(mask * 255).save(os.path.join(root, f"{i}_{k}.png"))
                lines.append(f"{i}_{k}.png {label} {score!r}\n")
            texts.append(os.path.join(root, f"{i}.txt"))
            pathlib.Path(texts[-1]).write_text("".join(lines))
        options = package.args
        options.predictionPath, options.gtInstancesFile = root, os.path.join(root, "instances.json")
        options.JSONOutput, options.quiet = False, True
        averages = package.evaluateImgLists(texts, truths, options)["averages"]
    figures = {"AP": averages["allAp"], "AP50": averages["allAp50%"]}
    for name, values in averages["classes"].items():
        figures[f"AP/{name}"], figures[f"AP50/{name}"] = values["ap"], values["ap50%"]
    return {key: None if np.isnan(value) else float(value) for key, value in figures.items()}


def main():
    recorded = {"lvis": {}, "cityscapes": {}}
    for case in scenes.LVIS_CASES:
        truth, results = scenes.lvis_scene(case)
        masks = [{k: v for k, v in result.items() if k != "bbox"} for result in results]
        recorded["lvis"][case] = {
            "bbox": lvis_figures(truth, results, "bbox"),
            "segm": lvis_figures(truth, results, "segm"),
            "segm without boxes": lvis_figures(truth, masks, "segm"),
        }
    for case in scenes.CITY_CASES:
        recorded["cityscapes"][case] = city_figures(*scenes.city_scene(case))
    (HERE / "recorded.json").write_text(json.dumps(recorded, indent=1) + "\n")


if __name__ == "__main__":
    main()
