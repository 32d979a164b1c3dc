"""The reference's side of benchmarks/benchmark.py; runs in an environment with PyTorch and MMDetection 2.x.

Prints one JSON line: {"ms": [...], "peak_mb": ..., "load_s": ..., "first_s": ...}. Of kdet it
needs only ``verification/weights.py``, which is NumPy alone, and its neighbor here.
"""

import copy
import importlib.util
import json
import pathlib
import time

from benchmark_arguments import benchmark_parser
from process_memory import forget_peak, peak_memory


def parse_arguments():
    parser = benchmark_parser(__doc__, config="reference config, family/name")
    parser.add_argument("--layout", default="channels_last", choices=["channels_last", "contiguous"])
    parser.add_argument("--train", action="store_true")
    parser.add_argument("--preload", help="module to import first, for set-ups that need one")
    return parser.parse_args()


def main():
    arguments = parse_arguments()
    if arguments.preload:
        importlib.import_module(arguments.preload)
    import mmdet
    import numpy as np
    import torch
    from mmcv import Config
    from mmdet.models import build_detector

    torch.set_num_threads(arguments.threads)
    start = time.time()
    configs = pathlib.Path(mmdet.__file__).parent / ".mim" / "configs"
    config = Config.fromfile(str(configs / f"{arguments.config}.py"))
    model = build_detector(without_downloads(copy.deepcopy(config.model)))
    generated_weights(model)
    model.eval()
    layout = torch.channels_last if arguments.layout == "channels_last" else torch.contiguous_format
    model = model.to(memory_format=layout)
    load = time.time() - start

    h, w, n = arguments.height, arguments.width, arguments.batch
    images = torch.randn(n, 3, h, w).to(memory_format=layout)
    meta = dict(
        img_shape=(h, w, 3), ori_shape=(h, w, 3), pad_shape=(h, w, 3), batch_input_shape=(h, w),
        scale_factor=np.ones(4, np.float32), flip=False,
    )  # fmt: skip
    metas = [dict(meta) for _ in range(n)]

    def infer():
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=arguments.dtype == "bfloat16"):
            return model(return_loss=False, rescale=True, img=[images], img_metas=[metas])

    def train():
        boxes = torch.tensor([[40.0, 50, 300, 400], [500, 200, 900, 700], [20, 600, 120, 780]] * 5)
        boxes = boxes * torch.tensor([w / 1344, h / 800] * 2)
        losses = model.forward_train(images, metas, gt_bboxes=[boxes] * n, gt_labels=[torch.arange(15)] * n)
        total, _ = model._parse_losses(losses)
        model.zero_grad()
        total.backward()

    if arguments.train:
        model.train()
    run = train if arguments.train else infer
    forget_peak()
    milliseconds = []
    for _ in range(arguments.runs + 1):
        start = time.time()
        run()
        milliseconds.append(1000 * (time.time() - start))
    row = {"ms": milliseconds[1:], "first_s": milliseconds[0] / 1000, "load_s": load, **peak_memory()}
    print(json.dumps(row))


def without_downloads(node):
    """The model section without pretrained weights, and with batch norm of one device."""
    if isinstance(node, dict):
        if node.get("type") == "SyncBN":
            node["type"] = "BN"
        node.pop("init_cfg", None)
        node.pop("pretrained", None)
        for value in node.values():
            without_downloads(value)
    elif isinstance(node, (list, tuple)):
        for value in node:
            without_downloads(value)
    return node


def generated_weights(model):
    """The weights that kdet's side uses too, made out of the parameters' names."""
    import torch

    path = pathlib.Path(__file__).resolve().parents[2] / "verification" / "weights.py"
    spec = importlib.util.spec_from_file_location("generated_weights", path)
    weights = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(weights)
    shapes = {k: tuple(v.shape) for k, v in model.state_dict().items()}
    state = weights.generate_all(shapes)
    model.load_state_dict({k: torch.from_numpy(v) for k, v in state.items()})


if __name__ == "__main__":
    main()
