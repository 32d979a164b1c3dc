"""What the constructors of classes say about the keys of a recipe."""

import keras
import pytest

from kdet import registry, schema


@registry.register
class SchemaLayer(keras.layers.Layer):
    """Without a constructor of its own."""


@registry.register
class SchemaPart(registry.Component):
    def __init__(self, units, score_threshold=0.5, mean=(0.0, 0.0, 0.0), on=False, gain=1.0, anything=None):
        pass


@registry.register
class SchemaHeir(SchemaPart):
    def __init__(self, extra, **kwargs):
        super().__init__(units=1, **kwargs)


def problems(**values):
    return [
        text for _, text in schema.spec_problems({"type": "SchemaPart", "units": 1, **values}, ("model",))
    ]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"units": {"type": "SchemaPart", "units": 2}}, None),  # an object may stand for any argument
        ({"units": 0}, "model.units (SchemaPart): expected a whole number from 1 on, got 0"),
        ({"units": [1, 2]}, None),  # one for each level
        ({"mean": [1, 2]}, "expected a list of 3, got [1, 2]"),
        ({"mean": 1.0}, None),
        ({"score_threshold": 1.5}, "expected a number from 0 to 1, got 1.5"),
        ({"score_threshold": None}, None),
        ({"on": True}, None),
        ({"on": 1}, "expected true or false, got 1"),
        ({"gain": 2}, None),
        ({"gain": True}, "expected a number, got True"),
        ({"gain": "2"}, "expected a number, got '2'"),
        ({"gain": [1, 2]}, None),
        ({"gain": float("nan")}, "expected finite numbers, got nan"),
        ({"gain": [1, [float("inf")]]}, "expected finite numbers, got inf"),
        ({"anything": "word"}, None),
    ],
)
def test_values_are_held_against_name_and_default(values, message):
    found = problems(**values)
    if message is None:
        assert found == []
    else:
        assert len(found) == 1 and message in found[0]


def test_keywords_end_before_those_of_keras():
    assert list(schema.keywords(SchemaLayer)) == ["name", "dtype", "trainable"]
    assert schema.own_keywords(SchemaLayer) == {}
    assert set(schema.keywords(SchemaHeir)) >= {"extra", "units", "gain"}
    assert list(schema.own_keywords(SchemaHeir)) == ["extra"]


def test_a_section_may_be_empty():
    assert schema.problems({"train": None, "metadata": None}) == []
    assert schema.problems({"train": {"optimizer": None, "epochs": None}}) == []
    ((path, text),) = schema.problems({"train": {"optimizer": 1}})
    assert path == ("train", "optimizer") and "expected a mapping with" in text
