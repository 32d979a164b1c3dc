"""Counted multiply-adds beside those that papers publish: ``verification/results/flops.json``.

python -m verification.flops [--name RECIPE ...]
"""

import argparse
import json
import pathlib

from kdet.analysis.cost import cost
from kdet.config import Config

RESULTS = pathlib.Path(__file__).parent / "results" / "flops.json"
MMDET = "documentation of MMDetection 2, get_flops.py"
SWIN = "Liu et al., 2021, Swin Transformer, table 2"
VIL = "Zhang et al., 2021, Multi-Scale Vision Longformer, tables 4 and 5"
# {recipe: (10^9 multiply-adds as published, (h, w), where)}
PUBLISHED = {
    "retinanet_r50_fpn_1x": (239.32, (800, 1280), MMDET),
    "retinanet_r101_fpn_1x": (315.4, (800, 1280), VIL),
    "retinanet_x101_32x4d_fpn_1x": (319.1, (800, 1280), VIL),
    "retinanet_x101_64x4d_fpn_1x": (473.6, (800, 1280), VIL),
    "mask_rcnn_r50_fpn_1x": (260.1, (800, 1280), VIL),
    "mask_rcnn_r101_fpn_1x": (336.4, (800, 1280), VIL),
    "mask_rcnn_x101_32x4d_fpn_1x": (340.0, (800, 1280), VIL),
    "mask_rcnn_x101_64x4d_fpn_1x": (493.4, (800, 1280), VIL),
    "atss_r50_fpn_1x": (205.0, (800, 1280), SWIN),
    "sparse_rcnn_r50_fpn_300_proposals_crop_mstrain_480-800_3x": (166.0, (800, 1280), SWIN),
    # 140.69 of 10^9 operations, two for each multiply-add
    "yolov3_d53_mstrain-608_273e": (140.69 / 2, (608, 608), "Redmon & Farhadi, 2018, YOLOv3"),
}
TOLERANCE = 0.02  # papers round, and count norms and activations or not


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--name", nargs="+", choices=list(PUBLISHED), default=list(PUBLISHED))
    options = parser.parse_args()
    rows = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    for name in options.name:
        published, size, source = PUBLISHED[name]
        found = cost(Config.load(name).build("model"), size)
        counted = round(found.multiply_adds / 1e9, 2)
        rows[name] = {
            "published": round(published, 3),
            "counted": counted,
            "tolerance": TOLERANCE,
            "parameters": found.parameters,
            "size": list(size),
            "source": source,
        }
        off = counted / published - 1
        print(f"{name}: {counted} counted, {published:.2f} published ({off:+.1%})", flush=True)
        RESULTS.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
