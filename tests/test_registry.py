"""What registered classes remember of their constructors."""

import keras
import pytest

from kdet import registry


@registry.register
class RegistryPart(registry.Component):
    def __init__(self, size=1):
        self.size = size


@registry.register
class RegistryLayer(keras.layers.Layer):
    def __init__(self, units, part=None, **kwargs):
        super().__init__(**kwargs)
        self.units, self.other = units, RegistryPart()
        self.part = part if part is not None else RegistryPart(2)


def written(layer):
    return {k: v for k, v in layer.get_config().items() if k not in ("name", "trainable", "dtype")}


def test_a_part_that_the_constructor_made_is_written_only_when_changed():
    layer = RegistryLayer(3)
    assert written(layer) == {"units": 3}
    layer.other.size = 5  # of no argument's name
    assert written(layer) == {"units": 3}
    layer.part.size = 7
    config = written(layer)
    assert set(config) == {"units", "part"} and config["part"]["config"] == {"size": 7}
    assert RegistryLayer.from_config(layer.get_config()).part.size == 7


def test_a_change_replaces_what_was_said_at_first():
    layer = RegistryLayer(3, None)  # None says: make your own
    assert written(layer) == {"units": 3, "part": None}
    layer.part.size = 4
    assert RegistryLayer.from_config(layer.get_config()).part.size == 4
    given = RegistryLayer(3, RegistryPart(6))
    assert written(given)["part"]["config"] == {"size": 6}
    given.part.size = 8
    assert written(given)["part"]["config"] == {"size": 8}
    registry.remember(given, units=9)
    assert written(given)["units"] == 9


def test_changes_of_settings_are_counted():
    before = registry.Component.changes
    part = RegistryPart(2)
    assert registry.Component.changes == before and not part.changed
    part.note = "no argument"
    assert registry.Component.changes == before and not part.changed
    part.size = 3
    assert registry.Component.changes == before + 1 and part.changed
    assert repr(part) == "RegistryPart(size=3)"


def test_names_that_are_near_are_suggested():
    with pytest.raises(KeyError, match=r"type 'RegistryPrat'\. Did you mean RegistryPart"):
        registry.get("RegistryPrat")
    with pytest.raises(KeyError, match=r"type 'Qzx'\.\""):
        registry.get("Qzx")
    assert registry.names() == sorted(registry.names()) and "RegistryPart" in registry.names()


def test_two_classes_of_one_name_are_refused():
    twin = type("RegistryPart", (registry.Component,), {"__module__": "elsewhere"})
    with pytest.raises(ValueError, match=r"registered as 'RegistryPart': .*test_registry and elsewhere"):
        registry.register(twin)
