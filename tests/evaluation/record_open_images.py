"""Records what MMDetection 2.28 says of the scenes of open_images_scene.py, in its own environment.

python tests/evaluation/record_open_images.py > tests/evaluation/open_images_recorded.json
"""

import json
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parent))
import numpy as np  # noqa: E402
from mmdet.core import eval_map  # noqa: E402
from mmdet.datasets import OpenImagesDataset  # noqa: E402
from open_images_scene import CLASSES, ancestors, scene  # noqa: E402


def figures(seed, with_labels, with_hierarchy):
    truth, results, looked_for = scene(seed)
    data = OpenImagesDataset.__new__(OpenImagesDataset)
    data.class_label_tree = np.eye(CLASSES)
    if with_hierarchy:
        for label, above in ancestors().items():
            data.class_label_tree[label, above] = 1
    data.get_supercategory, data.filter_labels = True, True
    objects, found, labels = [], [], []
    for image in truth["images"]:
        own = [a for a in truth["annotations"] if a["image_id"] == image["id"]]
        boxes = np.array([a["bbox"] for a in own], np.float32).reshape(-1, 4)
        boxes[:, 2:] += boxes[:, :2]
        objects.append(
            {
                "bboxes": boxes,
                "labels": np.array([a["category_id"] - 1 for a in own], np.int64),
                "bboxes_ignore": np.zeros((0, 4), np.float32),
                "gt_is_group_ofs": np.array([a["iscrowd"] for a in own], bool),
            }
        )
        rows = [np.zeros((0, 5), np.float32) for _ in range(CLASSES)]
        for result in (r for r in results if r["image_id"] == image["id"]):
            x, y, w, h = result["bbox"]
            row = np.array([[x, y, x + w, y + h, result["score"]]], np.float32)
            label = result["category_id"] - 1
            rows[label] = np.concatenate([rows[label], row])
        found.append(rows)
        labels.append({"image_level_labels": np.array(looked_for[image["id"]], np.int64)})
    objects = data.add_supercategory_ann(objects)
    for entry in objects:
        entry["bboxes"] = entry["bboxes"].reshape(-1, 4)
    found = data.process_results(found, objects, labels if with_labels else None)
    mean, classes = eval_map(
        found, objects, iou_thr=0.5, ioa_thr=0.5, dataset="oid_v6", use_group_of=True, logger="silent"
    )
    return {"mAP": mean, **{f"AP/class {i}": float(c["ap"]) for i, c in enumerate(classes) if c["num_gts"]}}


if __name__ == "__main__":
    recorded = [
        {"case": [seed, labels, tree], "figures": figures(seed, labels, tree)}
        for seed in range(3)
        for labels in (True, False)
        for tree in (True, False)
    ]
    json.dump(recorded, sys.stdout, indent=1)
