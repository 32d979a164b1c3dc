"""How large a recipe may be, counted with aliases written out."""

import pytest

from kdet import yaml_loader
from kdet.errors import ConfigError


# values: mappings, lists, keys and scalars; depth: mappings and lists inside of each other
@pytest.mark.parametrize(
    ("text", "values", "depth"),
    [
        ("1", 1, 0),
        ("a: [1, 2]", 5, 2),
        ("[[[1]]]", 4, 3),
        ("[[[1]], [2, 3, 4]]", 8, 3),
        ("[&a 1, *a, *a]", 4, 1),
        ("[&a [1, 2], *a]", 7, 2),
        ("[&a [[1]], [[*a]]]", 9, 5),
        ("[&a [[[1]], 2, [3]], [*a]]", 16, 5),
        ("[&a [1], &b [*a, 2], [*b]]", 12, 4),
        ("[[&a [1, [2]]], {b: &c {d: *a}, e: [*c]}]", 22, 6),
    ],
)
def test_values_and_depth_are_counted_to_one(monkeypatch, text, values, depth):
    monkeypatch.setattr(yaml_loader, "MAX_VALUES", values)
    monkeypatch.setattr(yaml_loader, "MAX_DEPTH", depth)
    yaml_loader.load(text, "recipe.yaml")
    monkeypatch.setattr(yaml_loader, "MAX_VALUES", values - 1)
    with pytest.raises(ConfigError, match=f"recipe.yaml: more than {values - 1} values"):
        yaml_loader.load(text, "recipe.yaml")
    monkeypatch.setattr(yaml_loader, "MAX_VALUES", values)
    monkeypatch.setattr(yaml_loader, "MAX_DEPTH", depth - 1)
    if depth:
        with pytest.raises(ConfigError, match=f"recipe.yaml: nested more than {depth - 1} deep"):
            yaml_loader.load(text, "recipe.yaml")


def test_a_text_of_the_largest_size_is_read(monkeypatch):
    with pytest.raises(ConfigError, match="a text of 2000001 characters is no recipe; at most 2000000 are"):
        yaml_loader.load(" " * 2_000_001, "recipe.yaml")
    monkeypatch.setattr(yaml_loader, "MAX_TEXT", 6)
    assert yaml_loader.load("[1, 2]", "recipe.yaml") == [1, 2]
    with pytest.raises(ConfigError, match="a text of 7 characters is no recipe; at most 6 are read"):
        yaml_loader.load("[1, 23]", "recipe.yaml")


def test_an_alias_of_nothing_is_named_with_its_place(monkeypatch):
    monkeypatch.setattr(yaml_loader, "MAX_VALUES", 4)
    monkeypatch.setattr(yaml_loader, "MAX_DEPTH", 2)
    with pytest.raises(ConfigError, match=r"undefined alias.* \(line 2, column 5\)"):
        yaml_loader.load("\na: [*b]", "recipe.yaml")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-4", 1e-4),
        ("-1.5E+3", -1500.0),
        (".5e1", 5.0),
        ("+2.e2", 200.0),
        ("1e5x", "1e5x"),
        ("e5", "e5"),
        ("1.0.0", "1.0.0"),
    ],
)
def test_numbers_are_those_of_yaml_1_2(text, value):
    assert yaml_loader.load(text, "recipe.yaml") == value
