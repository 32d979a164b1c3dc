"""Runs goldens against the models of the zoo and writes the report."""

import fnmatch
import pathlib
import time

from kdet import convert, published, zoo
from kdet.config import Config
from verification import checks, training, transformers_stages
from verification.golden import Golden


def recipe_of(mmdet_config):
    """kdet's recipe for a reference config (``family/config``), or None when there is none yet."""
    known = set(zoo.list())
    base = mmdet_config.split("/")[-1]
    for name in (published.canonical_name(mmdet_config), base, base.removesuffix("_coco")):
        if name in known:
            return name
    return None


def build(golden, name, load=Config.load):
    """The model of a golden with its generated weights and its test settings.

    Args:
        golden: :class:`verification.golden.Golden`.
        name: of the recipe.
        load: gives the :class:`kdet.config.Config` of a recipe's name, and of its teacher's.
    """
    model = transformers_stages.fit_to_golden(load(name), golden).build("model")
    convert.load_state_dict(model, golden.state_dict())
    if golden.meta.get("teacher_state_dict"):
        teacher = load(model.teacher_name).build("model")
        convert.load_state_dict(teacher, golden.state_dict(teacher=True))
        model.attach_teacher(teacher)
    checks.apply_test_settings(model, golden.meta["test_cfg_overrides"])
    return model


def check(path, train=True):
    """All rows of one golden.

    Args:
        path: of the ``.npz``.
        train: losses and gradients too.

    Returns:
        ``(recipe name or None, [Row], seconds)``.
    """
    start = time.time()
    golden = Golden(str(path))
    name = recipe_of(golden.meta["config"])
    if name is None:
        return None, [checks.Row("recipe", float("inf"), False, f"none for {golden.meta['config']}")], 0.0
    model = build(golden, name)
    transformers = golden.meta.get("reference") == "transformers"
    rows = (transformers_stages if transformers else checks).stage_rows(model, golden)
    if train:
        rows += training.training_rows(model, golden)
    return name, rows, time.time() - start


def find_goldens(directory, pattern="*"):
    """Goldens in a folder whose file name or recipe matches a shell pattern."""
    paths = sorted(pathlib.Path(directory).glob("*.npz"))
    if not paths:
        raise FileNotFoundError(f"There are no goldens (*.npz) in {directory}.")
    return [p for p in paths if fnmatch.fnmatch(p.stem, pattern) or fnmatch.fnmatch(p.stem, f"*__{pattern}")]
