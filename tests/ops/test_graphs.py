"""Shape functions and input checks of the compiled ops."""

import pytest
import tensorflow as tf

from kdet import ops
from kdet.ops import compiled

needs_library = pytest.mark.skipif(compiled.why_not() is not None, reason=str(compiled.why_not()))


@needs_library
def test_compiled_shapes_with_unknown_sizes():
    with ops.use("compiled"):
        graph = tf.function(lambda x, b, n: ops.roi_align(x, b, (7, 5), 0.25)).get_concrete_function(
            tf.TensorSpec([None, None, None, 8]), tf.TensorSpec([None, 30, 4]), None
        )
        assert graph.output_shapes.as_list() == [None, 30, 7, 5, 8]


@needs_library
def test_compiled_shapes_of_images():
    library = compiled.library()

    def shapes(size):
        masks = library.kdet_rasterize_polygons([[0.0, 0.0]], [0, 1], [0, 1, 1], size)
        return masks, library.kdet_paste_masks(tf.ones([1, 2, 3, 3]), tf.ones([1, 2, 4]), size, Out=tf.bool)

    known = tf.function(lambda: shapes([20, 33])).get_concrete_function()
    assert [s.as_list() for s in known.output_shapes] == [[2, 20, 5], [1, 2, 20, 33]]
    unknown = tf.function(shapes).get_concrete_function(tf.TensorSpec([2], tf.int32))
    assert [s.as_list() for s in unknown.output_shapes] == [[2, None, None], [1, 2, None, None]]


@needs_library
def test_compiled_shapes_of_columns():
    def columns(x, offsets, mask, groups):
        return compiled.library().kdet_deform_columns(x, offsets, mask, kernel_size=[3, 2], groups=groups)

    graph = tf.function(columns).get_concrete_function(
        tf.TensorSpec([None, 5, 6, 8]), tf.TensorSpec([None, 3, 5, 12]), tf.TensorSpec([None, 3, 5, 6]), 2
    )
    assert graph.output_shapes.as_list() == [2, None, 24]
    graph = tf.function(columns).get_concrete_function(
        tf.TensorSpec([2, 5, 6, None]), tf.TensorSpec([2, 3, 5, 12]), tf.TensorSpec([2, 3, 5, 6]), 1
    )
    assert graph.output_shapes.as_list() == [1, 30, None]


def zeros(*shape, dtype=tf.float32):
    return tf.zeros(shape, dtype)


BAD_CALLS = {
    "boxes must be|Dimensions must be equal": lambda lib: lib.kdet_nms(
        zeros(1, 2, 4), zeros(1, 3), zeros(1, 3, dtype=tf.int32), 1, 0.5, 0.0
    ),
    "gt_index 2 at flat index 0, but there are 2 masks": lambda lib: lib.kdet_crop_masks(
        zeros(1, 2, 4, 1, dtype=tf.uint8), zeros(1, 1, 4), [[2]], 2, 2
    ),
    "the levels have 4 pixels, but value has 5": lambda lib: lib.kdet_ms_deform_attn(
        zeros(1, 5, 1, 2), [[2, 2]], zeros(1, 1, 1, 1, 1, 2), zeros(1, 1, 1, 1, 1)
    ),
    "do not fit kernel_size 3": lambda lib: lib.kdet_carafe(zeros(1, 2, 2, 3), zeros(1, 4, 4, 8), 3, 1, 2),
    "offsets and mask must be": lambda lib: lib.kdet_deform_conv(
        zeros(1, 4, 4, 2), zeros(3, 3, 2, 2), zeros(1, 4, 4, 18), zeros(1, 4, 4, 9)
    ),
    "KdetDeformColumns: offsets and mask must be \\[1,2,2,18\\]": lambda lib: lib.kdet_deform_columns(
        zeros(1, 4, 4, 2), zeros(1, 4, 4, 18), zeros(1, 4, 4, 9), kernel_size=[3, 3]
    ),
    "KdetDeformColumns: .* deform_groups 4 do not fit": lambda lib: lib.kdet_deform_columns(
        zeros(1, 4, 4, 2), zeros(1, 2, 2, 72), zeros(1, 2, 2, 36), kernel_size=[3, 3], deform_groups=4
    ),
    "KdetDeformColumns: .*65536x65536 cells": lambda lib: lib.kdet_deform_columns(
        zeros(1, 4, 4, 2), zeros(1, 2, 2, 18), zeros(1, 2, 2, 9), kernel_size=[65536, 65536]
    ),
    "kernel_size needs two values": lambda lib: lib.kdet_deform_columns(
        zeros(1, 4, 4, 2), zeros(1, 2, 2, 18), zeros(1, 2, 2, 9), kernel_size=[3]
    ),
    "KdetDeformColumnsGrad: upstream must be \\[1,4,18\\], not \\[4,18\\]": lambda lib: (
        lib.kdet_deform_columns_grad(
            zeros(4, 18), zeros(1, 4, 4, 2), zeros(1, 2, 2, 18), zeros(1, 2, 2, 9), kernel_size=[3, 3]
        )
    ),
    "scores \\[B,N,C\\]|Shape must be rank 3": lambda lib: lib.kdet_fast_nms(
        zeros(1, 2, 4), zeros(1, 2), 5, 5, 0.5, 0.0
    ),
    "mask must be": lambda lib: lib.kdet_masked_conv(
        zeros(1, 4, 4, 2), zeros(1, 4, 3, dtype=tf.bool), zeros(3, 3, 2, 2), zeros(2), padding=[1, 1]
    ),
    "strides needs two values": lambda lib: lib.kdet_masked_conv(
        zeros(1, 4, 4, 2), zeros(1, 2, 2, dtype=tf.bool), zeros(3, 3, 2, 2), zeros(2), strides=[0, 1]
    ),
    "size must not be negative": lambda lib: lib.kdet_paste_masks(
        zeros(1, 1, 4, 4), zeros(1, 1, 4), [-1, 5], Out=tf.float32
    ),
    "boxes must be \\[1,2,4\\], not \\[1,1,4\\]|Dimensions must be equal": lambda lib: lib.kdet_paste_masks(
        zeros(1, 2, 4, 4), zeros(1, 1, 4), [5, 5], Out=tf.float32
    ),
    "objects must rise from 0 to 1": lambda lib: lib.kdet_rasterize_polygons(
        zeros(3, 2, dtype=tf.float64), [0, 3], [0, 2], [4, 4]
    ),
    "polygons must rise from 0 to 3": lambda lib: lib.kdet_rasterize_polygons(
        zeros(3, 2, dtype=tf.float64), [1, 3], [0, 1], [4, 4]
    ),
    "groups of 4, 8, 16, 32 or 64 channels": lambda lib: lib.kdet_grouped_conv_grad(
        zeros(1, 4, 4, 4), zeros(1, 4, 4, 4), zeros(3, 3, 2, 4), [1, 1], [1, 1], [1, 1], 2
    ),
    "gamma must be \\[3\\], not \\[2\\]|Dimensions must be equal": lambda lib: lib.kdet_batch_norm(
        zeros(2, 4, 3), zeros(2), zeros(3), zeros(0), 1e-5
    ),
    "counted must be \\[2\\], not \\[3\\]": lambda lib: lib.kdet_batch_norm(
        zeros(2, 4, 3), zeros(3), zeros(3), zeros(3), 1e-5
    ),
    "shapes must be vectors": lambda lib: lib.kdet_roi_align_grad(
        zeros(1, 1, 2, 2, 3), zeros(1, 1, 4), [[0]], [[[1, 4, 4, 3]]], 2, 2, [1.0], 0, True
    ),
    "bins are more than": lambda lib: lib.kdet_roi_align(
        [zeros(1, 4, 4, 2)], zeros(1, 0, 4), zeros(1, 0, dtype=tf.int32), 2**30, 2**30, [1.0], 0, True
    ),
    "and scale 1073741824|negative|too many elements|overflow": lambda lib: lib.kdet_carafe(
        zeros(1, 2, 2, 3), zeros(1, 4, 4, 9), 3, 1, 2**30
    ),
    "must be within 1(e.08|00000000)": lambda lib: lib.kdet_rasterize_polygons(
        zeros(3, 2, dtype=tf.float64), [0, 3], [0, 1], [2**31 - 1, 2**31 - 1]
    ),
    "too many elements|overflow|must be non-negative": lambda lib: lib.kdet_paste_masks(
        zeros(9, 9, 4, 4), zeros(9, 9, 4), [2**31 - 1, 2**31 - 1], Out=tf.bool
    ),
    "offsets and mask must be .*0,0": lambda lib: lib.kdet_deform_conv(
        zeros(1, 2, 2, 2), zeros(3, 3, 2, 2), zeros(1, 1, 1, 18), zeros(1, 1, 1, 9), strides=[2, 2]
    ),
    "padding needs two values .y, x. from 0 to 65536": lambda lib: lib.kdet_deform_conv(
        zeros(1, 4, 4, 2), zeros(3, 3, 2, 2), zeros(1, 2, 2, 18), zeros(1, 2, 2, 9), padding=[2**30, 2**30]
    ),
    "level 1 at flat index 0 is not in": lambda lib: lib.kdet_roi_align(
        [zeros(1, 4, 4, 2)], zeros(1, 1, 4), [[1]], 2, 2, [1.0], 0, True
    ),
}


@needs_library
@pytest.mark.parametrize("sentence", BAD_CALLS)
def test_compiled_ops_check_their_inputs(sentence):
    # on the CPU: what lies on a GPU is not looked at, that would have to wait for it
    with tf.device("CPU"), pytest.raises(tf.errors.InvalidArgumentError, match=sentence):
        BAD_CALLS[sentence](compiled.library())
