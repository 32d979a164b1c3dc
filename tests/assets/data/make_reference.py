"""Makes ``reference.npz``: what MMDetection 2.28.2 delivers for tiny datasets (run where it is installed).

    python make_reference.py

Writes the images, the COCO file and the VOC folder beside itself too, so that the tests read the very
same input.
"""

import json
import os

import cv2
import mmcv
import numpy as np
from mmdet.datasets import CocoDataset, XMLDataset
from mmdet.datasets.pipelines import Compose

HERE = os.path.dirname(os.path.abspath(__file__))
CLASSES = ("cat", "dog")


def image(height, width, seed):
    noise = np.random.default_rng(seed).integers(0, 256, (height // 6 + 2, width // 6 + 2, 3), np.uint8)
    return cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC)


def write_inputs():
    for folder in ("JPEGImages", "Annotations", "ImageSets/Main"):
        os.makedirs(os.path.join(HERE, "voc", folder), exist_ok=True)
    sizes = {"a.jpg": (60, 83), "b.png": (90, 61), "c.jpg": (48, 64)}
    for seed, (name, (h, w)) in enumerate(sizes.items()):
        cv2.imwrite(os.path.join(HERE, name), image(h, w, seed), [cv2.IMWRITE_JPEG_QUALITY, 85])
    cv2.imwrite(os.path.join(HERE, "voc", "JPEGImages", "a.jpg"), image(60, 83, 0))
    annotations = [
        (1, 1, 7, [10.5, 8.25, 40, 30], [[10.5, 8.25, 50.5, 8.25, 50.5, 38.25, 10.5, 38.25]], 0),
        (2, 1, 3, [20, 20, 30, 35], [[20, 20, 50, 22, 35, 55], [40, 40, 48, 40, 48, 52, 40, 52]], 0),
        (3, 1, 7, [-6, 40, 20.5, 30], [[-6, 40, 14.5, 44, 10, 70]], 0),
        (4, 1, 7, [0, 0, 9, 9], {"size": [60, 83], "counts": [0, 9, 51, 9, 4911]}, 1),
        (5, 2, 3, [5.1, 60.9, 50, 20], {"size": [90, 61], "counts": [500, 20, 70, 40, 50, 41, 4769]}, 0),
        (6, 2, 3, [70, 10, 20, 20], [[70, 10, 90, 10, 90, 30]], 0),  # outside
        (7, 2, 7, [10, 10, 0.5, 20], [[10, 10, 10.5, 10, 10.5, 30]], 0),  # degenerate
    ]
    keys = ("id", "image_id", "category_id", "bbox", "segmentation", "iscrowd")
    content = {
        "images": [
            {"id": i, "file_name": name, "height": h, "width": w}
            for i, (name, (h, w)) in enumerate(sizes.items(), start=1)
        ],
        "annotations": [dict(zip(keys, a), area=a[3][2] * a[3][3]) for a in annotations],
        "categories": [{"id": 7, "name": "cat"}, {"id": 3, "name": "dog"}],
    }
    with open(os.path.join(HERE, "coco.json"), "w") as file:
        json.dump(content, file)
    objects = [
        ("cat", 0, "11", "9", "51.7", "39"),
        ("dog", 1, "1", "1", "20", "30"),
        ("dog", 0, "30", "2", "83", "60"),
    ]
    with open(os.path.join(HERE, "voc", "Annotations", "a.xml"), "w") as file:
        file.write("<annotation><size><width>83</width><height>60</height><depth>3</depth></size>\n")
        for name, difficult, *box in objects:
            corners = "".join(f"<{k}>{v}</{k}>" for k, v in zip(("xmin", "ymin", "xmax", "ymax"), box))
            file.write(f"<object><name>{name}</name><difficult>{difficult}</difficult>")
            file.write(f"<bndbox>{corners}</bndbox></object>\n")
        file.write("</annotation>\n")
    with open(os.path.join(HERE, "voc", "ImageSets", "Main", "train.txt"), "w") as file:
        file.write("a\n")


def pipeline(flip, masks, **resize):
    return [
        {"type": "LoadImageFromFile"},
        {"type": "LoadAnnotations", "with_bbox": True, "with_mask": masks},
        {"type": "Resize", **resize},
        {"type": "RandomFlip", "flip_ratio": float(flip)},
        {"type": "Pad", "size_divisor": 32},
    ]


def record(arrays, key, dataset, steps, i):
    info = {"img_info": dataset.data_infos[i], "ann_info": dataset.get_ann_info(i)}
    dataset.pre_pipeline(info)
    result = Compose(steps)(info)
    if result["flip"]:
        height, width = result["img_shape"][:2]
        arrays[f"{key}/image"] = mmcv.bgr2rgb(result["img"][:height, :width])
    arrays[f"{key}/boxes"] = result["gt_bboxes"]
    arrays[f"{key}/labels"] = result["gt_labels"]
    arrays[f"{key}/ignore"] = result["gt_bboxes_ignore"]
    arrays[f"{key}/scale"] = result["scale_factor"][[1, 0]]
    arrays[f"{key}/pad_shape"] = np.array(result["pad_shape"][:2])
    if "gt_masks" in result:
        arrays[f"{key}/masks"] = np.packbits(result["gt_masks"].masks, axis=-1)


def main():
    write_inputs()
    coco = CocoDataset(
        os.path.join(HERE, "coco.json"),
        [],
        classes=CLASSES,
        img_prefix=HERE,
        filter_empty_gt=False,
        test_mode=True,
    )
    voc = XMLDataset(
        ann_file=os.path.join(HERE, "voc", "ImageSets", "Main", "train.txt"),
        pipeline=[],
        classes=CLASSES,
        img_prefix=os.path.join(HERE, "voc"),
        test_mode=True,
    )
    arrays = {}
    for flip in (0, 1):
        for i in range(3):
            steps = pipeline(flip, True, img_scale=(133, 80), keep_ratio=True)
            record(arrays, f"coco_keep_{flip}/{i}", coco, steps, i)
            steps = pipeline(flip, True, img_scale=(50, 70), keep_ratio=False)
            record(arrays, f"coco_fixed_{flip}/{i}", coco, steps, i)
        steps = pipeline(flip, False, img_scale=(64, 41), keep_ratio=True)
        record(arrays, f"voc_keep_{flip}/0", voc, steps, 0)
    np.savez_compressed(os.path.join(HERE, "reference.npz"), **arrays)


if __name__ == "__main__":
    main()
