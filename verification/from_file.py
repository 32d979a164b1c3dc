"""Small detectors and images for the comparison "from the file on"; NumPy and Pillow alone.

Both sides use this file: ``verification/peers/mmdet_from_file.py`` records what MMDetection makes of the
images, and ``tests/detectors/test_from_file.py`` what kdet does.
"""

import io

import numpy as np
from PIL import Image

RESNET = {"depth": 18, "base_channels": 16}
CHANNELS = [16, 32, 64, 128]  # of its maps
LIMIT = (320, 192)
EVERY = ("wide", "tall", "tiny", "huge", "turned", "mirrored")


def _resnet(out_channels=32):
    """Changes of the parts that detectors on a ResNet with a pyramid share: (MMDetection's, kdet's)."""
    there = {f"backbone.{key}": value for key, value in RESNET.items()}
    there.update({"neck.in_channels": CHANNELS, "neck.out_channels": out_channels})
    return there, {
        **{f"backbone.{key}": value for key, value in RESNET.items()},
        "neck.out_channels": out_channels,
    }


def _case(config, recipe, size, there, here, images=EVERY, pyramid=True):
    shared = _resnet() if pyramid else ({}, {})
    return {
        "config": config,
        "recipe": recipe,
        "size": size,
        "there": {**shared[0], **there},
        "here": {**shared[1], **here},
        "images": images,
    }


_YOLO = (
    {
        "neck.in_channels": [64, 64, 64],
        "neck.out_channels": [32, 32, 32],
        "bbox_head.in_channels": [32, 32, 32],
        "bbox_head.out_channels": [64, 64, 64],
        "bbox_head.num_classes": 2,
        "test_cfg.score_thr": 0.3,
    },
    {
        "backbone.blocks": [1, 1, 1, 1, 1],
        "backbone.channels": [64, 64, 64, 64, 64],
        "neck.filters": [32, 32, 32],
        "bbox_head.filters": [64, 64, 64],
        "bbox_head.num_classes": 2,
        "bbox_head.postprocess.score_threshold": 0.3,
    },
)
# what the reference's Darknet-53 is replaced by: blocks, and channels (in, out) of every stage
DARKNET = ((1, 1, 1, 1, 1), ((32, 64), (64, 64), (64, 64), (64, 64), (64, 64)))

CASES = {
    "retinanet": _case(
        "retinanet_r50_fpn_1x_coco", "retinanet_r50_fpn_1x", LIMIT,
        {"bbox_head.in_channels": 32, "bbox_head.feat_channels": 32},
        {"bbox_head.filters": 32},
    ),
    "fcos": _case(
        "fcos_r50_caffe_fpn_gn-head_1x_coco", "fcos_r50_caffe_fpn_gn-head_1x", LIMIT,
        {"bbox_head.in_channels": 32, "bbox_head.feat_channels": 32},
        {"bbox_head.filters": 32},
        images=("wide", "tall", "turned"),
    ),
    "mask_rcnn": _case(
        "mask_rcnn_r50_fpn_1x_coco", "mask_rcnn_r50_fpn_1x", LIMIT,
        {
            "rpn_head.in_channels": 32,
            "rpn_head.feat_channels": 32,
            "roi_head.bbox_roi_extractor.out_channels": 32,
            "roi_head.mask_roi_extractor.out_channels": 32,
            "roi_head.bbox_head.in_channels": 32,
            "roi_head.bbox_head.fc_out_channels": 64,
            "roi_head.mask_head.in_channels": 32,
            "roi_head.mask_head.conv_out_channels": 32,
        },
        {
            "rpn_head.filters": 32,
            "roi_head.bbox_head.fc_units": 64,
            "roi_head.mask_head.filters": 32,
        },
    ),
    "yolov3_416": _case(
        "yolov3_d53_mstrain-416_273e_coco", "yolov3_d53_mstrain-416_273e", (416, 416), *_YOLO,
        pyramid=False, images=("wide", "tall", "turned"),
    ),
    "yolov3_608": _case(
        "yolov3_d53_mstrain-608_273e_coco", "yolov3_d53_mstrain-608_273e", (608, 608), *_YOLO,
        pyramid=False, images=("wide",),
    ),
    "ssd300": _case(
        "ssd300_coco", "ssd300", (300, 300), {}, {}, pyramid=False, images=("wide", "tall", "turned"),
    ),
    "detr": _case(
        "detr_r50_8x2_150e_coco", "detr_r50_8x2_150e", LIMIT,
        {
            **{f"backbone.{key}": value for key, value in RESNET.items()},
            "bbox_head.in_channels": CHANNELS[-1],
            "bbox_head.num_query": 20,
            "test_cfg.max_per_img": 20,
            "bbox_head.transformer.encoder.num_layers": 1,
            "bbox_head.transformer.decoder.num_layers": 2,
            "bbox_head.transformer.encoder.transformerlayers.feedforward_channels": 256,
            "bbox_head.transformer.decoder.transformerlayers.feedforward_channels": 256,
        },
        {
            **{f"backbone.{key}": value for key, value in RESNET.items()},
            "bbox_head.num_queries": 20,
            "bbox_head.postprocess.max_per_image": 20,
            "bbox_head.transformer.encoder_layers": 1,
            "bbox_head.transformer.decoder_layers": 2,
            "bbox_head.transformer.ffn_units": 256,
        },
        pyramid=False,
    ),
    "sparse_rcnn": _case(
        "sparse_rcnn_r50_fpn_1x_coco", "sparse_rcnn_r50_fpn_1x", LIMIT,
        {
            "neck.out_channels": 256,
            "rpn_head.num_proposals": 20,
            "roi_head.num_stages": 2,
            "roi_head.stage_loss_weights": [1, 1],
            "test_cfg.rcnn.max_per_img": 20,
        },
        {
            "neck.out_channels": 256,
            "rpn_head.num_proposals": 20,
            "roi_head.num_stages": 2,
            "roi_head.postprocess.max_per_image": 20,
        },
        images=("wide", "tall", "turned"),
    ),
    "cornernet": _case(
        "cornernet_hourglass104_mstest_8x6_210e_coco", "cornernet_hourglass104_mstest_8x6_210e", None,
        {
            "backbone.downsample_times": 2,
            "backbone.num_stacks": 1,
            "backbone.stage_channels": [32, 32, 48],
            "backbone.stage_blocks": [1, 1, 1],
            "bbox_head.num_feat_levels": 1,
        },
        {
            "backbone.stacks": 1,
            "backbone.channels": [32, 32, 48],
            "backbone.blocks": [1, 1, 1],
            "bbox_head.stacks": 1,
        },
        images=("tiny", "turned"), pyramid=False,
    ),
}  # fmt: skip

# (width, height) of the pixels that are stored
SIZES = {
    "wide": (500, 210),
    "tall": (190, 460),
    "tiny": (23, 17),
    "huge": (3000, 700),
    "turned": (240, 130),
    "mirrored": (150, 220),
}
ORIENTATIONS = {"turned": 6, "mirrored": 5}  # EXIF: a quarter turn, and one of a mirror image


def drawn(name: str) -> np.ndarray:
    """Pixels uint8 ``[h,w,3]``: crossing bands of color and a few rectangles, by whole numbers only."""
    width, height = SIZES[name]
    x, y = np.arange(width)[None, :], np.arange(height)[:, None]
    across, down = x * 240 // width, y * 240 // height
    image = np.stack(np.broadcast_arrays(across, down, (across * 3 + down * 2) % 256), -1).astype(np.uint8)
    for i in range(6):
        left, top = (37 * i + 11) % 80 * width // 100, (53 * i + 7) % 70 * height // 100
        color = [(80 * i + 40 * c + 30) % 256 for c in range(3)]
        image[top : top + height // 5 + 1, left : left + width // (4 + i) + 1] = color
    return image


def encoded(name: str) -> bytes:
    """The file: PNG, or where the orientation says how to turn it JPEG with an EXIF header."""
    file, image = io.BytesIO(), Image.fromarray(drawn(name))
    if name not in ORIENTATIONS:
        image.save(file, "PNG")
    else:
        exif = Image.Exif()
        exif[0x0112] = ORIENTATIONS[name]
        image.save(file, "JPEG", quality=95, subsampling=0, exif=exif)
    return file.getvalue()
