"""SGD and AdamW against PyTorch's rule (written out in NumPy), clipping, factors, loss scaling."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from kdet.layers import BatchNorm, Conv2D
from kdet.train.optimizers import SGD, AdamW, LossScaleOptimizer
from kdet.train.param_groups import ParamGroups, parameter_names
from kdet.train.schedules import StepDecay

GRADS = [np.array([1.0, -2.0, 3.0]), np.array([0.5, 4.0, -1.0]), np.array([-3.0, 0.1, 0.2])]
START = np.array([1.0, 2.0, -1.5])


def run(optimizer, grads=GRADS):
    variable = keras.Variable(START, dtype="float32")
    for grad in grads:
        optimizer.apply([tf.constant(grad, tf.float32)], [variable])
    return variable.numpy()


def clipped(grad, max_norm):
    return grad * min(1.0, max_norm / (np.linalg.norm(grad) + 1e-6)) if max_norm else grad


@pytest.mark.parametrize("nesterov", [False, True])
@pytest.mark.parametrize("max_norm", [None, 2.0])
def test_sgd_follows_pytorch(nesterov, max_norm):
    rates, weight, buffer = [0.1, 0.1, 0.01], START.copy(), np.zeros(3)
    for rate, grad in zip(rates, GRADS):
        grad = clipped(grad, max_norm) + 0.05 * weight
        buffer = 0.9 * buffer + grad
        weight = weight - rate * (grad + 0.9 * buffer if nesterov else buffer)
    schedule = StepDecay(0.1, steps_per_epoch=1, epochs=3, steps=[2])
    optimizer = SGD(schedule, nesterov=nesterov, weight_decay=0.05, global_clipnorm=max_norm)
    np.testing.assert_allclose(run(optimizer), weight, rtol=1e-6)


def test_sgd_differs_from_keras_when_the_rate_steps():
    ours = SGD(StepDecay(0.1, steps_per_epoch=1, epochs=3, steps=[2]))
    theirs = keras.optimizers.SGD(StepDecay(0.1, steps_per_epoch=1, epochs=3, steps=[2]), momentum=0.9)
    assert np.abs(run(ours) - run(theirs)).max() > 0.05


def test_adamw_follows_pytorch():
    weight, m, v = START.copy(), np.zeros(3), np.zeros(3)
    for step, grad in enumerate(GRADS, start=1):
        weight = weight * (1 - 0.01 * 0.1)
        m, v = 0.9 * m + 0.1 * grad, 0.999 * v + 0.001 * grad**2
        weight = weight - 0.01 * (m / (1 - 0.9**step)) / (np.sqrt(v / (1 - 0.999**step)) + 1e-8)
    np.testing.assert_allclose(run(AdamW(0.01, weight_decay=0.1)), weight, rtol=1e-6)


def test_adamw_counts_the_steps_of_each_parameter():
    """A parameter without a gradient in the second of three steps is two steps old, as in PyTorch."""
    optimizer = AdamW(0.01, weight_decay=0.1)
    always, sometimes = (keras.Variable(START, dtype="float32") for _ in range(2))
    optimizer.build([always, sometimes])
    for i, grad in enumerate(GRADS):
        gradient = tf.constant(grad, tf.float32)
        optimizer.apply([gradient, None if i == 1 else gradient], [always, sometimes])
    assert [float(count) for count in optimizer.steps] == [3.0, 2.0]
    np.testing.assert_array_equal(always.numpy(), run(AdamW(0.01, weight_decay=0.1)))
    np.testing.assert_array_equal(sometimes.numpy(), run(AdamW(0.01, weight_decay=0.1), [GRADS[0], GRADS[2]]))


class Net(keras.Model):
    """Attributes named like a detector's."""

    def __init__(self):
        super().__init__()
        self.backbone = [Conv2D(3, 1), BatchNorm()]
        self.head = Conv2D(2, 1)
        self(tf.zeros([1, 2, 2, 4]))

    def call(self, x, training=False):
        return self.head(self.backbone[1](self.backbone[0](x), training=training))


class Counted(Conv2D):
    def layers_above(self, name):
        return 3


class TwoParts(keras.Model):
    def __init__(self, backbone):
        super().__init__()
        self.backbone, self.head = backbone, Conv2D(2, 1)
        self(tf.zeros([1, 2, 2, 4]))

    def call(self, x):
        return self.head(self.backbone(x))


RULES = {
    "custom_keys": {"backbone": {"lr_mult": 0.1}, "backbone.0": {"lr_mult": 0.5, "decay_mult": 0.0}},
    "bias_lr_mult": 2.0,
    "bias_decay_mult": 0.0,
    "norm_decay_mult": 0.0,
}


def test_names_and_factors():
    names = {name: norm for _, name, norm in parameter_names(Net())}
    assert names == {
        "backbone.0.weight": False,
        "backbone.0.bias": False,
        "backbone.1.weight": True,
        "backbone.1.bias": True,
        "head.weight": False,
        "head.bias": False,
    }
    rules = ParamGroups(**RULES)
    assert rules.factors("backbone.0.weight") == (0.5, 0.0)  # the longest key wins
    assert rules.factors("backbone.1.weight", is_norm=True) == (0.1, 1.0)  # and switches the rest off
    assert rules.factors("head.bias") == (2.0, 0.0)
    assert rules.factors("head.weight") == (1.0, 1.0)
    assert rules.factors("head.norm.bias", is_norm=True) == (1.0, 0.0)
    assert rules.factors("head.conv2.conv_offset.bias") == rules.factors("conv_offset.bias") == (1.0, 1.0)


def test_rates_fall_towards_the_image_and_vectors_do_not_decay():
    rules = ParamGroups(layer_decay=0.5, vector_decay_mult=0.0)
    net = TwoParts(Counted(3, 1))
    names = {id(variable): name for variable, name, _ in parameter_names(net)}
    found = {names[id(variable)]: factors for variable, factors in rules.resolve(net)}
    assert found["backbone.weight"] == (0.125, 1.0) and found["backbone.bias"] == (0.125, 0.0)
    assert found["head.weight"] == (1.0, 1.0) and found["head.bias"] == (1.0, 0.0)
    with pytest.raises(ValueError, match="layer_decay: the layers of Conv2D are not counted"):
        rules.resolve(TwoParts(Conv2D(3, 1)))


def test_factors_reach_the_update():
    model = Net()
    optimizer = SGD(0.1, momentum=0.0, weight_decay=0.5, parameters=RULES).bind(model)
    before = [v.numpy() for v in model.trainable_variables]
    optimizer.apply([tf.ones_like(v) for v in model.trainable_variables], model.trainable_variables)
    by_name = {id(v): name for v, name, _ in parameter_names(model)}
    want = {"backbone.0.weight": (0.05, 0.0), "head.weight": (0.1, 0.5), "head.bias": (0.2, 0.0)}
    for variable, old in zip(model.trainable_variables, before):
        if by_name[id(variable)] in want:
            rate, decay = want[by_name[id(variable)]]
            np.testing.assert_allclose(variable.numpy(), old - rate * (1 + decay * old), rtol=1e-6, atol=1e-7)


def test_a_key_that_fits_nothing_fails_with_a_hint():
    with pytest.raises(ValueError, match="Did you mean 'backbone'"):
        SGD(0.1, parameters={"custom_keys": {"backbon3": {"lr_mult": 0.1}}}).bind(Net())
    with pytest.raises(ValueError, match="use lr_mult and decay_mult"):
        SGD(0.1, parameters={"custom_keys": {"backbone": {"lr": 0.1}}})


@pytest.mark.parametrize("cls", [SGD, AdamW])
def test_serialization(cls):
    schedule = StepDecay(0.1, steps_per_epoch=5, epochs=3, steps=[2], warmup_steps=3)
    optimizer = cls(schedule, weight_decay=0.05, global_clipnorm=35.0, parameters=RULES)
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(optimizer))
    assert type(again) is cls and again.get_config() == optimizer.get_config()
    again.parameters = optimizer.parameters = {}
    plain = [cls.from_config({**o.get_config(), "parameters": None}) for o in (optimizer, again)]
    np.testing.assert_array_equal(run(plain[0]), run(plain[1]))


def test_loss_scaling_skips_an_overflow_and_clips_the_unscaled_gradient():
    inner = SGD(0.1, momentum=0.0, global_clipnorm=2.0)
    optimizer = LossScaleOptimizer(inner, initial_scale=8.0)
    variable = keras.Variable(START, dtype="float32")
    optimizer.build([variable])
    optimizer.apply([tf.constant([np.inf, 0.0, 0.0])], [variable])
    np.testing.assert_array_equal(variable.numpy(), START)
    assert float(optimizer.dynamic_scale) == 4.0 and int(optimizer.iterations) == 0
    optimizer.apply([tf.constant(4.0 * GRADS[0], tf.float32)], [variable])
    np.testing.assert_allclose(variable.numpy(), START - 0.1 * clipped(GRADS[0], 2.0), rtol=1e-6)
