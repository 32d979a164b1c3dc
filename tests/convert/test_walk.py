import keras
import numpy as np
import pytest

from kdet.convert import IncompleteStateDict, layouts, load_state_dict, state_dict, torch_items
from kdet.convert.walk import named_layers
from kdet.layers import Layer, TorchNamed
from tests.convert.plain_layers import Conv, Dense, Norm


class Flat(Layer, keras.layers.Dense):
    @property
    def torch_tensors(self):
        return {"weight": ("kernel", ("linear_chw", (3, 2))), "bias": ("bias", None)}


class Attention(Layer):
    torch_tensors = {"in_proj_weight": (("query.kernel", "key.kernel"), "linear")}

    def __init__(self):
        super().__init__()
        self.query, self.key = Dense(3, use_bias=False), Dense(3, use_bias=False)

    def build(self, shape):
        self.query.build(shape)
        self.key.build(shape)


class Stem(Layer):
    torch_names = {"_blocks": ""}

    def __init__(self):
        super().__init__()
        self._blocks = [Conv(4, 1, use_bias=False), None, Norm()]

    def build(self, shape):
        self._blocks[0].build(shape)
        self._blocks[2].build((*shape[:-1], 4))


class Model(keras.Model):
    def __init__(self, classes=5):
        super().__init__()
        self.stem = Stem()
        self.branches = {"a": [Flat(2)], "b": (Dense(classes, use_bias=False),)}
        self.attn = Attention()
        self.scale = self.add_weight(shape=(), initializer="ones", name="other_name")
        self.tied = [self.branches["b"][0], None]
        self.stem.build((None, 8, 8, 3))
        self.branches["a"][0].build((None, 24))
        self.branches["b"][0].build((None, 7))
        self.attn.build((None, 6))
        self.built = True


NAMES = [
    "stem.0.weight",
    "stem.2.weight",
    "stem.2.bias",
    "stem.2.running_mean",
    "stem.2.running_var",
    "branches.a.0.weight",
    "branches.a.0.bias",
    "branches.b.0.weight",
    "attn.in_proj_weight",
    "scale",
    "tied.0.weight",
]


def random_state(model, seed=0):
    rng = np.random.default_rng(seed)
    state = {k: rng.normal(size=s.shape).astype("float32") for k, s in torch_items(model).items()}
    if "tied.0.weight" in state:
        state["tied.0.weight"] = state["branches.b.0.weight"]
    return state


def test_names_follow_attributes_in_order():
    items = torch_items(Model())
    assert list(items) == NAMES
    assert items["attn.in_proj_weight"].shape == (6, 6)
    assert items["branches.a.0.weight"].shape == (2, 24)
    assert items["tied.0.weight"].variables[0] is items["branches.b.0.weight"].variables[0]


def test_round_trip_is_exact():
    model = Model()
    state = random_state(model)
    report = load_state_dict(model, {**state, "stem.2.num_batches_tracked": np.int64(3)})
    assert report.filled == len(NAMES) and report.ignored == ("stem.2.num_batches_tracked",)
    for name, array in state_dict(model).items():
        np.testing.assert_array_equal(array, state[name])
    np.testing.assert_array_equal(model.attn.key.kernel.numpy(), state["attn.in_proj_weight"][3:].T)


def test_dense_behind_a_flattened_map_sees_the_same_features():
    model = Model()
    state = random_state(model)
    load_state_dict(model, state)
    maps = np.random.default_rng(1).normal(size=(1, 3, 2, 4)).astype("float32")  # NHWC
    torch_order = maps.transpose(0, 3, 1, 2).reshape(1, -1)
    expected = torch_order @ state["branches.a.0.weight"].T + state["branches.a.0.bias"]
    got = model.branches["a"][0](maps.reshape(1, -1))
    np.testing.assert_allclose(got, expected, atol=1e-5)


@pytest.mark.parametrize(
    "rule, shape",
    [
        ("conv", (3, 2, 4, 6)),
        ("depthwise", (3, 2, 4, 2)),
        ("conv_transpose", (3, 2, 4, 6)),
        ("linear", (4, 6)),
        ("point_conv", (4, 6)),
        (("chw", (2, 3)), (24,)),
        (("linear_chw", (2, 3)), (24, 5)),
    ],
)
def test_layout_rules_are_inverses(rule, shape):
    array = np.arange(np.prod(shape)).reshape(shape)
    torch_array = layouts.to_torch(rule, array)
    assert torch_array.shape == layouts.torch_shape(rule, shape)
    np.testing.assert_array_equal(layouts.to_keras(rule, torch_array, shape), array)


def test_unknown_layout_is_named():
    with pytest.raises(ValueError, match="'convv'"):
        layouts.torch_shape("convv", (1, 2))


def test_strict_lists_both_sides_and_assigns_nothing():
    model = Model()
    before = state_dict(model)
    state = random_state(model)
    state["head.weight"] = state.pop("stem.0.weight")
    with pytest.raises(IncompleteStateDict, match="head.weight") as error:
        load_state_dict(model, state)
    assert error.value.report.unfilled == ("stem.0.weight",)
    assert error.value.report.left_over == ("head.weight",)
    for name, array in state_dict(model).items():
        np.testing.assert_array_equal(array, before[name])
    assert load_state_dict(model, state, strict=False).filled == len(NAMES) - 1


def test_tied_weights_may_appear_once():
    model = Model()
    state = random_state(model)
    del state["tied.0.weight"]
    assert load_state_dict(model, state).unfilled == ()


def test_other_class_count_is_reported():
    model, state = Model(classes=9), random_state(Model(classes=5))
    with pytest.raises(IncompleteStateDict, match=r"branches.b.0.weight: file \(5, 7\), model \(9, 7\)"):
        load_state_dict(model, state)
    kept = model.branches["b"][0].kernel.numpy()
    report = load_state_dict(model, state, allow_mismatch=True)
    assert set(report.mismatched) == {"branches.b.0.weight", "tied.0.weight"}
    np.testing.assert_array_equal(model.branches["b"][0].kernel.numpy(), kept)


def test_unreachable_variable_is_unfilled():
    class Hidden(keras.Model):
        def __init__(self):
            super().__init__()
            self._secret = Dense(2)
            self._secret.build((None, 3))
            self.built = True

    with pytest.raises(IncompleteStateDict, match="no PyTorch name"):
        load_state_dict(Hidden(), {})


def test_unbuilt_layer_is_named():
    class Unbuilt(keras.Model):
        def __init__(self):
            super().__init__()
            self.fc = Dense(2)

    with pytest.raises(ValueError, match="at 'fc' is not built"):
        torch_items(Unbuilt())


class Decoder(Layer):
    torch_names = {"attentions": ("self_attn", "cross_attn")}

    def __init__(self):
        super().__init__()
        self.attentions = [Dense(2), Dense(3, use_bias=False)]
        for layer in self.attentions:
            layer.build((None, 4))


class Detector(TorchNamed, keras.Model):
    torch_names = {"head": ""}

    def __init__(self):
        super().__init__()
        self.head = Decoder()
        self.built = True


def test_several_names_are_those_of_a_lists_items():
    model = Detector()
    assert list(torch_items(model)) == ["self_attn.weight", "self_attn.bias", "cross_attn.weight"]
    names = {name: (layer, replace) for name, layer, replace in named_layers(model)}
    assert names["cross_attn"][0] is model.head.attentions[1]
    other = Dense(1)
    names["cross_attn"][1](other)
    assert model.head.attentions[1] is other


def test_a_layer_of_another_library_counts_under_its_attributes_names():
    layer = keras.layers.Dense(3)
    layer.build((None, 2))
    layer.torch_names = {"_kernel": "weight"}  # means nothing: it is no layer of kdet
    assert "weight" not in torch_items(layer)
    assert torch_items(layer)["bias"].shape == (3,)
