"""Arguments that do not fit are refused by both forms, with a sentence that names them."""

import numpy as np
import pytest
import tensorflow as tf

from kdet import ops


def f(*shape):
    return np.ones(shape, np.float32)


MAP, BOXES, LEVELS = f(2, 4, 5, 3), f(2, 3, 4), np.zeros((2, 3), int)
X, KERNEL, OFFSETS, MASK = f(1, 5, 6, 4), f(3, 3, 4, 2), f(1, 5, 6, 18), f(1, 5, 6, 9)
PLACES, BIAS = f(1, 5, 6), f(2)
PACKED = np.ones((2, 3, 8, 2), np.uint8)


def deform(x=X, kernel=KERNEL, offsets=OFFSETS, mask=MASK, **settings):
    return lambda: ops.deform_conv2d(x, kernel, offsets, mask, **{"padding": 1, **settings})


def attention(shapes=((2, 3), (1, 2)), levels=2):
    return lambda: ops.ms_deform_attn(f(1, 8, 2, 3), shapes, f(1, 4, 2, levels, 3, 2), f(1, 4, 2, levels, 3))


def masked(mask=PLACES, kernel=KERNEL, bias=BIAS, **settings):
    return lambda: ops.masked_conv2d(X, mask, kernel, bias, **{"padding": 1, **settings})


def polygons(*coordinates):
    return lambda: ops.rasterize_polygons(ops.polygons_of([[coordinates]]), 8, 8)


WRONG = {
    "roi_align: boxes must be .* with B=2": lambda: ops.roi_align(MAP, f(3, 3, 4), 2),
    r"roi_align: boxes must be .* not of shape \(3, 4\)": lambda: ops.roi_align(MAP, f(3, 4), 2),
    r"roi_align: features\[0\] must be": lambda: ops.roi_align(MAP[0], BOXES, 2),
    r"roi_align: features\[1\] must be .*C=3": lambda: ops.multilevel_roi_align(
        (MAP, f(2, 2, 2, 4)), BOXES, LEVELS, 2, (1, 2)
    ),
    "roi_align: levels must be": lambda: ops.multilevel_roi_align((MAP,), BOXES, LEVELS[:, :1], 2, (1,)),
    "roi_align: features are of .*one dtype": lambda: ops.multilevel_roi_align(
        (MAP, MAP.astype("float16")), BOXES, LEVELS, 2, (1, 2)
    ),
    "roi_align got 0 feature maps": lambda: ops.multilevel_roi_align((), BOXES, LEVELS, 2, ()),
    "roi_align: sampling_ratio is -1": lambda: ops.roi_align(MAP, BOXES, 2, sampling_ratio=-1),
    "roi_align: output_size is 0": lambda: ops.roi_align(MAP, BOXES, 0),
    r"roi_align: output_size is \(2, 2, 2\)": lambda: ops.roi_align(MAP, BOXES, (2, 2, 2)),
    "deform_roi_pool: offsets must be": lambda: ops.deform_roi_pool(
        (MAP,), BOXES, LEVELS, f(2, 3, 2, 3, 2), 2, (1,)
    ),
    "deform_conv2d: offsets must be .*H'=5": deform(offsets=OFFSETS[:, :4]),
    "deform_conv2d: mask must be .*W'=6": deform(mask=MASK[:, :, :5]),
    "deform_conv2d: offsets must be .*B=1": deform(offsets=f(2, 5, 6, 18)),
    "deform_conv2d: strides is 0": deform(strides=0),
    "deform_conv2d: padding is -1": deform(padding=-1),
    r"deform_conv2d: dilations is \(1, 0\)": deform(dilations=(1, 0)),
    "deform_conv2d: x must be": deform(x=X[0]),
    "ms_deform_attn: value must be .*S=9": attention(((2, 3), (1, 3))),
    "ms_deform_attn: spatial_shapes are .*negative": attention(((2, 3), (-1, -2))),
    "ms_deform_attn: locations must be .*levels=2": attention(levels=1),
    "point_sample: points must be .*B=2": lambda: ops.point_sample(MAP, f(1, 3, 2)),
    "paste_masks: boxes must be .*N=3": lambda: ops.paste_masks(f(2, 3, 4, 4), f(2, 1, 4), 8, 9),
    "paste_masks: boxes must be .*5": lambda: ops.paste_masks(f(2, 3, 4, 4), f(2, 3, 5), 8, 9),
    "paste_masks: height is -1": lambda: ops.paste_masks(f(2, 3, 4, 4), BOXES, -1, 9),
    "masked_conv2d: bias must be .*out=2": masked(bias=f(1)),
    "masked_conv2d: mask must be .*H'=5": masked(mask=f(1, 1, 6)),
    "masked_conv2d: kernel must be .*in=4": masked(kernel=f(3, 3, 5, 2)),
    "masked_conv2d: strides is 0": masked(strides=0),
    "carafe: scale is 0": lambda: ops.carafe(MAP, f(2, 0, 0, 9), kernel_size=3, scale=0),
    "carafe: masks must be .*scale.H=8": lambda: ops.carafe(MAP, f(2, 7, 10, 9), kernel_size=3),
    "corner_pool: x must be": lambda: ops.corner_pool(MAP[0], "top"),
    "crop_masks: packed_masks must be uint8": lambda: ops.crop_masks(PACKED.astype(int), BOXES, LEVELS, 7),
    "crop_masks: gt_index must be": lambda: ops.crop_masks(PACKED, BOXES, LEVELS[:, :2], 7),
    "conv3x3: kernel must be": lambda: ops.conv3x3(X, f(5, 5, 4, 2), f(2)),
    "grouped_conv2d: strides is 0": lambda: ops.grouped_conv2d(X, KERNEL, 0),
    "batch_norm: gamma must be .*C=3": lambda: ops.batch_norm(MAP, f(2), f(3)),
    "soft_nms: scores must be": lambda: ops.soft_nms(BOXES, f(2, 2), max_output=3),
    "fast_nms: top_k is -1": lambda: ops.fast_nms(
        BOXES, f(2, 3, 2), iou_threshold=0.5, score_threshold=0.0, top_k=-1, max_output=3
    ),
    "rasterize_polygons: height is -1": lambda: ops.rasterize_polygons(ops.polygons_of([]), -1, 8),
}


@pytest.mark.parametrize("sentence", WRONG)
def test_is_refused(form, sentence):
    with pytest.raises(ValueError, match=sentence):
        WRONG[sentence]()


@pytest.mark.parametrize("value", [np.nan, np.inf, 2e8, -2e8])
def test_places_that_no_polygon_has(form, value):
    with pytest.raises(tf.errors.InvalidArgumentError, match="finite"):
        polygons(1, 2, 3, value, 5, 6)()


def test_sizes_of_numpy(form):
    size = np.int64(2)
    assert ops.roi_align(MAP, BOXES, size).shape == (2, 3, 2, 2, 3)
    assert ops.crop_masks(PACKED, BOXES, LEVELS, size).shape == (2, 3, 2, 2)
    assert ops.roi_align(MAP, BOXES, [1, 2]).shape == (2, 3, 1, 2, 3)
    assert deform(strides=np.int64(1))().shape == (1, 5, 6, 2)


def test_arrays_of_numpy(form):
    assert ops.conv3x3(f(1, 4, 5, 16), f(3, 3, 16, 32), f(32)).shape == (1, 4, 5, 32)
    assert ops.grouped_conv2d(f(1, 4, 5, 8), f(3, 3, 4, 8), padding=1, groups=2).shape == (1, 4, 5, 8)


OTHER_TYPES = {
    "roi_align": lambda: ops.roi_align(MAP.astype("float64"), BOXES, 2),
    "deform_conv2d": deform(x=X.astype("float64")),
    "corner_pool": lambda: ops.corner_pool(MAP.astype("int32"), "top"),
    "carafe": lambda: ops.carafe(MAP.astype("float64"), f(2, 8, 10, 9), kernel_size=3),
    "point_sample": lambda: ops.point_sample(MAP.astype("float64"), f(2, 3, 2)),
    "paste_masks": lambda: ops.paste_masks(f(2, 3, 4, 4) > 0, BOXES, 8, 9, threshold=0.5),
}


@pytest.mark.parametrize("name", OTHER_TYPES)
def test_other_types_are_portable(name):
    with ops.use("auto"):
        found = OTHER_TYPES[name]()
    with ops.use("portable"):
        np.testing.assert_array_equal(found, OTHER_TYPES[name]())
    with ops.use("compiled"), pytest.raises(ValueError, match=f"{name}: the compiled form takes float32"):
        OTHER_TYPES[name]()


@pytest.mark.parametrize(
    "call,shape,sentence",
    [
        (lambda x: ops.roi_align(x, BOXES, 2), [2, None, None, None], r"axis -1 of features\[0\]"),
        (lambda x: ops.roi_align(x, BOXES, 2), None, "unknown"),
        (lambda x: ops.grouped_conv2d(x, KERNEL, groups=2), [1, 5, 6, None], "grouped_conv2d: axis -1 of x"),
        (lambda x: deform(x=x)(), [1, 5, 6, None], "deform_conv2d: axis -1 of x"),
        (lambda x: ops.paste_masks(x, BOXES, 8, 9), [2, 3, None, 4], "paste_masks: axis -2 of masks"),
        (lambda x: ops.point_sample(x, f(2, 3, 2)), None, "point_sample: axis -1 of features"),
    ],
)
def test_sizes_that_must_be_known(portable, call, shape, sentence):
    with pytest.raises(ValueError, match=f"{sentence}.* must be known|must be known.*{sentence}"):
        tf.function(call).get_concrete_function(tf.TensorSpec(shape))
