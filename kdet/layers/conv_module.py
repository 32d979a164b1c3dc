"""Convolution, normalization, activation."""

from collections.abc import Callable
from typing import Any, TypeVar

import keras

from kdet.layers.composite import Composite
from kdet.layers.conv import Conv2D
from kdet.layers.fused import conv_norm
from kdet.layers.norm import make_norm
from kdet.layers.same_conv import SameConv2D
from kdet.registry import register
from kdet.typing import Activation, Conv, Norm, Pair, Tensor

T = TypeVar("T")
_CONVS: dict[str, Any] = {"conv": Conv2D, "conv_same": SameConv2D}


def register_conv(kind: str) -> Callable[[type[T]], type[T]]:
    """Class decorator: lets ``make_conv`` build the class from the spec ``{"kind": kind, ...}``."""

    def add(cls: type[T]) -> type[T]:
        _CONVS[kind] = cls
        return cls

    return add


def make_conv(spec: Conv, *args: Any, **kwargs: Any) -> keras.layers.Layer:
    """A new convolution layer.

    Args:
        spec: None for a plain one, a kind, a dict ``{"kind": ..., **arguments}`` (deformable,
            weight-standardised ...), or a layer that is used as it is (shared by several modules).
        *args: arguments of the layer.
        **kwargs: keywords of the layer.
    """
    if isinstance(spec, keras.Layer):
        return spec
    arguments: dict[str, Any] = {"kind": spec or "conv"} if not isinstance(spec, dict) else dict(spec)
    kind = arguments.pop("kind", "conv")
    if kind not in _CONVS:
        raise ValueError(f"conv: unknown kind {kind!r}, choose one of {sorted(_CONVS)}.")
    return _CONVS[kind](*args, **arguments, **kwargs)


@register
class ConvModule(Composite):
    """conv -> norm -> activation, the block that most heads and necks are made of.

    Args:
        filters, kernel_size, stride, padding, dilation, groups: of the convolution.
        norm: spec for ``make_norm``; the layer's attribute is its short name (``bn``, ``gn``).
        conv: spec for ``make_conv``.
        activation: Keras activation name or None.
        activation_first: the activation stands before the convolution.
        use_bias: None for "only without a norm".
    """

    def __init__(
        self,
        filters: int,
        kernel_size: int | Pair,
        stride: int = 1,
        padding: int = 0,
        dilation: int = 1,
        groups: int = 1,
        norm: Norm | None = None,
        conv: Conv | None = None,
        activation: Activation | None = "relu",
        activation_first: bool = False,
        use_bias: bool | None | None = None,
        kernel_initializer: Any = None,
        bias_initializer: Any = "zeros",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.conv = make_conv(
            conv,
            filters,
            kernel_size,
            stride=stride,
            padding=padding,
            dilation=dilation,
            groups=groups,
            use_bias=norm is None if use_bias is None else use_bias,
            kernel_initializer=kernel_initializer,
            bias_initializer=bias_initializer,
        )
        self.norm_name, layer = make_norm(norm)
        if layer is not None and self.norm_name is not None:
            setattr(self, self.norm_name, layer)
        self.activation = keras.activations.get(activation)
        self.activation_first = activation_first

    def call(self, x: Tensor) -> Tensor:
        norm = None if self.norm_name is None else self.part(self.norm_name)
        if self.activation_first:
            return conv_norm(self.conv, norm, self.activation(x))
        if self.activation is keras.activations.relu:
            return conv_norm(self.conv, norm, x, relu=True)
        return self.activation(conv_norm(self.conv, norm, x))
