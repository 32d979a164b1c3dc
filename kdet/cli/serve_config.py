"""Write what TensorFlow Serving needs to serve exported detectors.

    kdet export mask_rcnn_r50_fpn_1x --out served/mask_rcnn/1
    kdet export my_config.yaml --weights mine.weights.h5 --out served/mine/1
    kdet serve-config served --out serving
    docker compose -f serving/docker-compose.yml up

models.config lists the models, batching.config says how requests are put together, docker-compose.yml starts
the server with both. Into each model go warm-up requests, so that its first request is as fast as the others.
"""

import argparse

from kdet.cli import common

HELP = "write the configuration of a server of exported models"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("models", type=common.folder, help="folder of the models: MODELS/NAME/VERSION")
    parser.add_argument("--out", type=common.folder, required=True, help="folder of the configuration")
    parser.add_argument(
        "--max-batch-size",
        type=common.whole_number(1, 2**16),
        default=8,
        help="images together; 1: none (default 8)",
    )
    parser.add_argument(
        "--batch-timeout", type=common.milliseconds, default=5.0, help="wait for others, in ms (default 5)"
    )
    parser.add_argument(
        "--threads", type=common.whole_number(1, 4096), help="batches at the same time (default: processors)"
    )
    parser.add_argument("--grpc-port", type=common.whole_number(1, 65535), default=8500)
    parser.add_argument("--rest-port", type=common.whole_number(1, 65535), default=8501)
    parser.add_argument("--image", default="tensorflow/serving", help="the container of the server")
    parser.add_argument(
        "--warm-up",
        nargs="*",
        default=["480x640"],
        metavar="HEIGHTxWIDTH",
        help="sizes of images of the first requests; none: write no such requests (default 480x640)",
    )


def run(options: argparse.Namespace) -> None:
    from kdet.export import serving_config
    from kdet.writing import check_target

    check_target(options.out, folder=True, what="configuration")

    batching = serving_config.Batching(options.max_batch_size, options.batch_timeout, options.threads)
    batched = None if options.max_batch_size == 1 else batching
    sizes = [size_of(text) for text in options.warm_up]
    for versions in serving_config.find_models(options.models).values():
        if sizes:
            print(serving_config.write_warm_up(versions[-1], sizes, batching.allowed))
    ports = options.grpc_port, options.rest_port
    for path in serving_config.write_config(options.models, options.out, batched, options.image, ports):
        print(path)
    print(f"docker compose -f {options.out / serving_config.COMPOSE} up")


def size_of(text: str) -> tuple[int, int]:
    """Return (height, width) from HEIGHTxWIDTH."""
    from kdet.export.options import shape_of

    size = shape_of(text)
    if not isinstance(size, tuple):
        raise ValueError(f"--warm-up takes sizes such as 480x640, not {text!r}.")
    return size
