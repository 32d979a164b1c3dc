"""``imports`` of a recipe: classes of one's own, from files beside it and from modules."""

import sys

import pytest

from kdet.config import Config
from kdet.errors import ConfigError

CODE = "from kdet.registry import Component, register\n\n\n@register\nclass {}(Component):\n    pass\n"


@pytest.fixture(autouse=True)
def forget_modules():
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        del sys.modules[name]


def recipe(folder, text):
    path = folder / "recipe.yaml"
    path.write_text(text)
    return path


def test_a_file_beside_the_recipe(tmp_path):
    (tmp_path / "own_parts.py").write_text(CODE.format("OwnPart"))
    path = recipe(tmp_path, "imports: [own_parts.py]\nmodel: {type: OwnPart}\n")
    config = Config.load(path)
    assert type(config.build()).__name__ == "OwnPart"
    assert config["imports"] == [str(tmp_path / "own_parts.py")]  # the saved recipe finds it from anywhere
    saved = tmp_path / "sub" / "saved.yaml"
    saved.parent.mkdir()
    config.save(saved)
    assert type(Config.load(saved).build()).__name__ == "OwnPart"


def test_files_belong_to_the_recipe_that_names_them(tmp_path):
    (tmp_path / "base_parts.py").write_text(CODE.format("BasePart"))
    recipe(tmp_path, "imports: [base_parts.py]\nmodel: {type: BasePart}\n")
    other = tmp_path / "other" / "child.yaml"
    other.parent.mkdir()
    other.write_text("_base_: ../recipe.yaml\n")
    assert type(Config.load(other).build()).__name__ == "BasePart"


def test_a_module_by_its_name(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "module_parts.py").write_text(CODE.format("ModulePart"))
    config = Config.load(recipe(tmp_path, "imports: [module_parts]\nmodel: {type: ModulePart}\n"))
    assert type(config.build()).__name__ == "ModulePart"


@pytest.mark.parametrize(
    "value, message",
    [
        ("own.py", "recipe.yaml: imports: expected a list"),
        ("[3]", "imports: expected a list of modules"),
        ("[ownparts.py]", "there is no file .*ownparts.py. Did you mean 'own_part.py'"),
        ("[no_such_module]", "there is no module no_such_module. Is its folder in PYTHONPATH"),
        ("[own_part.py]", "own_part.py fails when it is imported: name 'oops' is not defined"),
        ("[json.py]", "another module is called json; rename json.py"),
    ],
)
def test_errors_name_file_key_and_way_out(tmp_path, value, message):
    (tmp_path / "own_part.py").write_text("oops\n")
    (tmp_path / "json.py").write_text("")
    with pytest.raises(ConfigError, match=message):
        Config.load(recipe(tmp_path, f"imports: {value}\nmodel: {{type: FPN}}\n"))
    assert "own_part" not in sys.modules
