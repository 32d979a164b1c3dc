"""Records what the reference's test-time augmentation gives for small detectors, for tests/detectors.

    python tests/golden/tta/record.py FOLDER [CASE ...]

Run with an interpreter that has PyTorch, mmcv-full 1.7 and mmdet 2.28. FOLDER holds the ``compat`` and
``make_golden`` modules of the oracle. The published test pipeline and ``model.forward(return_loss=False)``
run as they are, on an image and weights that both sides generate; one ``.npz`` per case lands beside this.
"""

import copy
import json
import os.path
import pathlib
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = sys.argv[1:2]
import common  # noqa: E402  (compat, which it imports, must come before mmcv)
import compat  # noqa: E402, F401
import make_golden  # noqa: E402
import mmdet  # noqa: E402
import numpy as np  # noqa: E402
import torch  # noqa: E402
from mmcv.parallel import DataContainer  # noqa: E402
from mmdet.datasets.pipelines import Compose  # noqa: E402

MMDET = os.path.dirname(mmdet.__file__)


def make_image(height, width):
    """The test's image, RGB uint8; ``tests/detectors/test_augmentation.py`` makes the same one."""
    smooth = make_golden.inputs.make_images(1, height, width, seed=5)[0].transpose(1, 2, 0)
    return np.clip(smooth * 50 + 120, 0, 255).astype(np.uint8)


R18 = {"depth": 18}
TWO_SIZES = {"scales": [[128, 80], [96, 64]], "flip": True}
SMALL = {"rpn": {"max_per_img": 40}, "rcnn": {"max_per_img": 10}}
DENSE = {"max_per_img": 20}
CASES = {
    "retinanet": ("retinanet/retinanet_r18_fpn_1x_coco", TWO_SIZES, {"test_cfg": DENSE}),
    "rpn": (
        "rpn/rpn_r50_fpn_1x_coco", TWO_SIZES, {"backbone": R18, "test_cfg": {"rpn": {"max_per_img": 30}}},
    ),
    "mask_rcnn": ("mask_rcnn/mask_rcnn_r50_fpn_1x_coco", TWO_SIZES, {"backbone": R18, "test_cfg": SMALL}),
    "cascade": (
        "cascade_rcnn/cascade_mask_rcnn_r50_fpn_1x_coco", TWO_SIZES, {"backbone": R18, "test_cfg": SMALL},
    ),
    "scnet": ("scnet/scnet_r50_fpn_1x_coco", TWO_SIZES, {"backbone": R18, "test_cfg": SMALL}),
    "cornernet": (
        "cornernet/cornernet_hourglass104_mstest_8x6_210e_coco",
        {"flip": True},
        {
            "backbone": {"stage_channels": [32, 32, 48, 48, 48, 64], "downsample_times": 5},
            "test_cfg": DENSE,
        },
    ),
    "htc": ("htc/htc_r50_fpn_1x_coco", TWO_SIZES, {"backbone": R18, "test_cfg": SMALL}),
    "ms_rcnn": ("ms_rcnn/ms_rcnn_r50_caffe_fpn_1x_coco", TWO_SIZES, {"backbone": R18, "test_cfg": SMALL}),
    "point_rend": (
        "point_rend/point_rend_r50_caffe_fpn_mstrain_1x_coco", TWO_SIZES,
        {"backbone": R18, "test_cfg": SMALL},
    ),
    "fcos": ("fcos/fcos_r50_caffe_fpn_gn-head_1x_coco", TWO_SIZES, {"backbone": R18, "test_cfg": DENSE}),
    "reppoints": (
        "reppoints/reppoints_moment_r50_fpn_1x_coco", TWO_SIZES, {"backbone": R18, "test_cfg": DENSE},
    ),
    "trident": ("tridentnet/tridentnet_r50_caffe_1x_coco", TWO_SIZES, {"test_cfg": SMALL}),
}  # fmt: skip
CLASSES = 3


def update(spec, changes):
    for key, value in changes.items():
        if isinstance(value, dict):
            update(spec[key], value)
        else:
            spec[key] = value


def few_classes(spec):
    """Every head (but the semantic one) gets three classes."""
    if isinstance(spec, dict):
        for key, value in spec.items():
            if key == "num_classes" and value == 80:
                spec[key] = CLASSES
            else:
                few_classes(value)
    elif isinstance(spec, (list, tuple)):
        for value in spec:
            few_classes(value)


def build(config, changes):
    path = common.find_config(config)
    published, model = common.load_model_cfg(path)
    update(model, copy.deepcopy(changes))
    few_classes(model)
    if model["backbone"].get("depth") == 18:
        model["neck"]["in_channels"] = [64, 128, 256, 512]
    return published, common.build(model).eval()


def views(published, augment, image):
    """Tensors and metas of the views, from the published test pipeline."""
    steps = copy.deepcopy(published.data.test.pipeline)
    load, several = steps
    if "scales" in augment:
        several["img_scale"] = [tuple(s) for s in augment["scales"]]
    several["flip"] = augment["flip"]
    bgr = np.ascontiguousarray(image[..., ::-1])
    bgr = bgr.astype(np.float32) if load.get("to_float32") else bgr
    found = Compose([several])({
        "img": bgr, "img_shape": bgr.shape, "ori_shape": bgr.shape, "img_fields": ["img"],
        "filename": "image", "ori_filename": "image",
    })  # fmt: skip
    metas = [m.data if isinstance(m, DataContainer) else m for m in found["img_metas"]]
    return [x[None] for x in found["img"]], [[m] for m in metas]


def record(name):
    config, augment, changes = CASES[name]
    published, model = build(config, changes)
    image = make_image(75, 101) if name != "cornernet" else make_image(110, 140)
    images, metas = views(published, augment, image)
    shapes, tied = make_golden.state_shapes(model)
    adjust = make_golden.initial_adjust(model, shapes, tied, 0)
    make_golden.load_weights(model, shapes, tied, adjust, 0)

    def forward(images=images, metas=metas):
        return model.forward(images, metas, return_loss=False, rescale=True)

    make_golden.calibrate(model, lambda: forward(images[:1], metas[:1]), shapes, tied, adjust, 0)
    with torch.no_grad():
        boxes, labels, masks, _ = make_golden.split_result(forward()[0])
    arrays = {"boxes": boxes[:, :4], "scores": boxes[:, 4], "labels": labels}
    if masks is not None:
        arrays["masks"] = np.packbits(np.stack(masks), axis=-1)
    meta = {"config": config, "augment": augment, "adjust": adjust, "size": image.shape[:2]}
    np.savez_compressed(HERE / f"{name}.npz", meta=json.dumps(meta), **arrays)
    print(name, len(boxes), boxes[:3], [tuple(x.shape) for x in images], [m[0].get("border") for m in metas])


if __name__ == "__main__":
    for case in sys.argv[2:] or CASES:
        record(case)
