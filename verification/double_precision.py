"""kdet in float64, for ``verification/check_parity.py --float64``.

In float64 rounding is far below every tolerance, so that what differs from the reference is an error. kdet
computes in float32 wherever it says so; ``install()``, called before kdet is imported, reads its modules with
``float64`` in the place of that word and gives them a TensorFlow whose defaults are float64.
"""

import importlib.abc
import importlib.machinery
import sys
import types

import keras
import numpy as np
import tensorflow

# what makes the goldens' float32 weights and images, and what says so
KEPT = (
    "verification.weights", "verification.inputs", "verification.golden", "verification.report",
    "kdet.convert.", "kdet.data.",
)  # fmt: skip
TENSORFLOW = "tensorflow_in_float64"
TABLE = "    table = tf.reshape(x, "  # a line of kdet.ops.deform_conv, behind the positions of its samples
# {module: (text, what stands there in float64)}
TIES = {
    # Boxes on whole pixels cover cells of a mask target by exactly one half. In float32 the reference's sums
    # count them as covered, and so does kdet; in float64 they end just below one half.
    "kdet.ops.crop_masks": ("0.5 - 1e-5", "0.5 + 1e-9"),
    # The reference's modulated deformable convolution (not the plain one, whose factors are 1) looks for the
    # pixel before a sample in float32 even in float64; samples just before a pixel get the slope behind it.
    "kdet.ops.deform_conv": (
        TABLE,
        "    whole = [tf.cast(tf.floor(tf.cast(v, 'float32')), v.dtype) for v in (y, x_)]\n"
        "    modulated = tf.reshape(mask, tf.shape(y)) != 1.0\n"
        "    ahead = [tf.where(modulated, tf.maximum(w - v, 0.0), 0.0) for v, w in zip((y, x_), whole)]\n"
        "    y, x_ = y + tf.stop_gradient(ahead[0]), x_ + tf.stop_gradient(ahead[1])\n" + TABLE,
    ),
}


def install():
    if "kdet" in sys.modules:
        raise RuntimeError("kdet was imported before double_precision.install().")
    keras.config.set_floatx("float64")
    sys.modules[TENSORFLOW] = _tensorflow()
    sys.meta_path.insert(0, _Finder())


class _Finder(importlib.abc.MetaPathFinder):
    def find_spec(self, fullname, path, target=None):
        if fullname.split(".")[0] not in ("kdet", "verification") or fullname.startswith(KEPT):
            return None
        spec = importlib.machinery.PathFinder.find_spec(fullname, path, target)
        if spec is not None:
            spec.loader = _Loader(fullname, spec.loader.path)
        return spec


class _Loader(importlib.machinery.SourceFileLoader):
    def get_code(self, fullname):  # past the compiled files of the other precision
        return self.source_to_code(self.get_data(self.path), self.path)

    def source_to_code(self, data, path, **options):
        text = data.decode("utf-8").replace("float32", "float64")
        if self.name in TIES:
            before, after = TIES[self.name]
            if text.count(before) != 1:
                raise ValueError(f"{self.name} does not hold {before!r} once: mend TIES.")
            text = text.replace(before, after)
        text = text.replace("import tensorflow as tf\n", f"import {TENSORFLOW} as tf\n")
        return super().source_to_code(text.encode("utf-8"), path, **options)


def _tensorflow():
    """TensorFlow with float64 where one names no type, and where its kernels know float32 alone."""
    double = _module(TENSORFLOW, tensorflow)
    for name in ("zeros", "ones", "one_hot", "eye", "linspace"):
        setattr(double, name, _widened(getattr(tensorflow, name)))
    for name in ("constant", "convert_to_tensor"):
        setattr(double, name, _unrounded(getattr(tensorflow, name)))
    for name in ("fill", "where"):
        setattr(double, name, _with_wide_numbers(getattr(tensorflow, name)))
    double.math = _module("math", tensorflow.math)
    double.math.ceil = _ceil
    double.image = _module("image", tensorflow.image)
    double.image.resize = lambda images, size: _resize(images, size, half_pixel_centers=True)
    double.random = _module("random", tensorflow.random)
    double.random.stateless_uniform = _widened(tensorflow.random.stateless_uniform)
    double.raw_ops = _module("raw_ops", tensorflow.raw_ops)
    double.raw_ops.FusedBatchNormV3 = _batch_norm
    double.raw_ops.ResizeBilinear = _resize
    double.raw_ops.NonMaxSuppressionV4 = _non_max_suppression
    return double


def _module(name, behind):
    module = types.ModuleType(name)
    module.__getattr__ = lambda attribute: getattr(behind, attribute)
    return module


def _with_wide_numbers(function):
    """``function``, whose arguments that are plain numbers are float64, but for those next to tensors."""

    def call(*arguments, **options):
        if not any(getattr(a, "dtype", None) == tensorflow.float64 for a in arguments):
            arguments = [np.float64(a) if type(a) is float else a for a in arguments]
        return function(*arguments, **options)

    return call


def _widened(function):
    """``function``, whose float32 results (exact ones) become float64."""

    def call(*arguments, **options):
        found = function(*arguments, **options)
        return tensorflow.cast(found, tensorflow.float64) if found.dtype == tensorflow.float32 else found

    return call


def _unrounded(function):
    """``function`` of a value, whose numbers do not become float32 first."""
    widened = _widened(function)

    def call(value, *arguments, **options):
        plain = isinstance(value, (float, list, tuple)) and not arguments and not options
        if plain and function(value).dtype == tensorflow.float32:
            value = np.asarray(value, np.float64)
        return widened(value, *arguments, **options)

    return call


def _ceil(x):
    """As mmcv's kernels count the samples of a bin, whatever they compute in: the ceiling of a float32."""
    return tensorflow.cast(tensorflow.math.ceil(tensorflow.cast(x, tensorflow.float32)), tensorflow.float64)


def _batch_norm(x, scale, offset, mean, variance, epsilon, is_training):
    if not is_training:
        y = tensorflow.nn.batch_normalization(x, mean, variance, offset, scale, epsilon)
        return types.SimpleNamespace(y=y)

    @tensorflow.recompute_grad  # the backward pass needs x alone, as that of the fused kernel
    def normalize(x, scale, offset):
        mean, variance = tensorflow.nn.moments(x, [0, 1, 2])
        y = tensorflow.nn.batch_normalization(x, mean, variance, offset, scale, epsilon)
        return y, mean, variance

    y, mean, variance = normalize(x, scale, offset)
    count = x.shape[:-1].num_elements()
    unbiased = variance * count / max(count - 1, 1)
    return types.SimpleNamespace(y=y, batch_mean=mean, batch_variance=unbiased)


def _resize(images, size, align_corners=False, half_pixel_centers=False):
    height, width = (
        _interpolation(images.shape[axis - 3], int(size[axis]), align_corners, half_pixel_centers)
        for axis in (0, 1)
    )
    return tensorflow.einsum("yh,...hwc,xw->...yxc", height, images, width)


def _interpolation(old, new, align_corners, half_pixel_centers):
    """What every one of ``old`` cells gives to ``new`` ones by linear interpolation: ``[new,old]``."""
    shift = 0.5 if half_pixel_centers else 0.0
    step = (old - 1) / max(new - 1, 1) if align_corners else old / new
    places = np.clip((np.arange(new) + shift) * step - shift, 0, old - 1)
    return np.maximum(0.0, 1.0 - np.abs(places[:, None] - np.arange(old)))


def _non_max_suppression(**arguments):
    single = {
        name: tensorflow.cast(value, tensorflow.float32)
        if getattr(value, "dtype", None) == tensorflow.float64
        else value
        for name, value in arguments.items()
    }
    return tensorflow.raw_ops.NonMaxSuppressionV4(**single)
