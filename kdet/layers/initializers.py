"""Starting values of kernels."""

from typing import Any

import keras


def kernel_initializer(initializer: Any = None) -> keras.initializers.Initializer | None:
    """The initializer of one layer's kernel.

    Args:
        initializer: name, object, or None for the published recipes' default (He et al., 2015, normal, by
            the number of outputs).

    Returns:
        An object of its own: a Keras initializer gives the same numbers every time it is asked, so two
        layers that share one would start out equal.
    """
    if initializer is None:
        return keras.initializers.VarianceScaling(2.0, "fan_out", "untruncated_normal")
    initializer = keras.initializers.get(initializer)
    return initializer.clone() if isinstance(initializer, keras.initializers.Initializer) else initializer


def truncated_normal(deviation: float = 0.02) -> keras.initializers.Initializer:
    """A normal distribution without its tails, which transformers start from."""
    return keras.initializers.TruncatedNormal(stddev=deviation)
