"""KerasHub's RetinaNet R-50 for benchmarks/benchmark.py; runs in an environment with keras-hub.

Prints one JSON line as ``mmdet_peer.py`` does. Random weights: KerasHub's cannot be downloaded offline.
"""

import json
import time

from benchmark_arguments import benchmark_parser
from process_memory import forget_peak, peak_memory


def main():
    parser = benchmark_parser(__doc__, config="not used: KerasHub has one such detector")
    arguments = parser.parse_args()
    import keras
    import keras_hub
    import numpy as np
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(arguments.threads)
    if arguments.dtype == "bfloat16":
        keras.config.set_dtype_policy("mixed_bfloat16")
    start = time.time()
    size = (arguments.height, arguments.width)
    encoder = keras_hub.models.ResNetBackbone(
        input_conv_filters=[64],
        input_conv_kernel_sizes=[7],
        stackwise_num_filters=[64, 128, 256, 512],
        stackwise_num_blocks=[3, 4, 6, 3],
        stackwise_num_strides=[1, 2, 2, 2],
        block_type="bottleneck_block",
        image_shape=(*size, 3),
    )
    backbone = keras_hub.models.RetinaNetBackbone(
        image_encoder=encoder, min_level=3, max_level=7, use_p5=False, image_shape=(*size, 3)
    )
    model = keras_hub.models.RetinaNetObjectDetector(
        backbone=backbone, num_classes=80, bounding_box_format="xyxy"
    )
    load = time.time() - start
    images = np.random.default_rng(0).normal(size=(arguments.batch, *size, 3)).astype("float32")
    forget_peak()
    milliseconds = []
    for _ in range(arguments.runs + 1):
        start = time.time()
        model.predict(images, verbose=0)
        milliseconds.append(1000 * (time.time() - start))
    row = {"ms": milliseconds[1:], "first_s": milliseconds[0] / 1000, "load_s": load, **peak_memory()}
    print(json.dumps(row))


if __name__ == "__main__":
    main()
