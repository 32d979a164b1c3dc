"""Keras' own layers with the names of PyTorch's tensors."""

import keras

from kdet.layers import Layer


class Conv(Layer, keras.layers.Conv2D):
    torch_tensors = {"weight": ("kernel", "conv"), "bias": ("bias", None)}


class Dense(Layer, keras.layers.Dense):
    torch_tensors = {"weight": ("kernel", "linear"), "bias": ("bias", None)}


class Norm(Layer, keras.layers.BatchNormalization):
    torch_tensors = {
        "weight": ("gamma", None),
        "bias": ("beta", None),
        "running_mean": ("moving_mean", None),
        "running_var": ("moving_variance", None),
    }
