"""Small scenes, and files of data sets; the packages of LVIS and Cityscapes have scored some (record.py)."""

import pathlib

import numpy as np
import scipy.io
from PIL import Image
from pycocotools import mask as coco_mask

from kdet.evaluation.wider_face import SUBSETS, Faces

LVIS_CASES = {"plain": 0, "equal scores": 1, "more than 300 detections": 2}
CITY_CASES = {"plain": 1, "equal scores": 4}
SIDE = 300
CITY_SIZE = (80, 120)
CITY_LABELS = (24, 25, 26, 27, 28)


def lvis_scene(case):
    """``(ground truth, results)`` of a few images, each with known, absent and partly annotated classes."""
    rng = np.random.default_rng(LVIS_CASES[case])
    categories = [{"id": 3 * i + 1, "name": f"c{i}", "frequency": "rcf"[i % 3]} for i in range(7)]
    ids = [c["id"] for c in categories]
    truth, results = {"images": [], "annotations": [], "categories": categories}, []

    def add(image_id, category_id, box):
        score = rng.integers(0, 4) / 4 if case == "equal scores" else rng.random()
        box = [float(v) for v in box]
        entry = {"image_id": image_id, "category_id": int(category_id), "bbox": box, "score": float(score)}
        results.append({**entry, "segmentation": lvis_mask(box)})

    for image_id in (40, 30, 20, 10, 50, 60):
        order = [int(i) for i in rng.permutation(ids)]
        image = {"id": image_id, "height": SIDE, "width": SIDE, "neg_category_ids": order[2:4]}
        truth["images"].append({**image, "not_exhaustive_category_ids": order[1:3] if image_id > 20 else []})
        for _ in range(rng.integers(0, 6)):
            box = np.r_[rng.uniform(0, 150, 2), rng.uniform(3, 140, 2)].round(1)
            category_id = int(rng.choice(order[:2]))
            annotation = {"id": len(truth["annotations"]) + 1, "image_id": image_id}
            annotation.update(category_id=category_id, bbox=box.tolist(), area=float(0.8 * box[2] * box[3]))
            truth["annotations"].append({**annotation, "segmentation": lvis_mask(box)})
            for _ in range(rng.integers(0, 5)):
                near = np.clip(box + rng.normal(0, 5, 4), 1, 149)
                add(image_id, category_id if rng.random() < 0.7 else rng.choice(ids), near)
        if case == "more than 300 detections" and image_id == 20:
            for _ in range(310):
                add(image_id, rng.choice(ids), np.r_[rng.uniform(0, 150, 2), rng.uniform(3, 140, 2)])
    return truth, results


def lvis_mask(box):
    """Compressed RLE of a box without its upper left corner."""
    x, y, w, h = (int(v) for v in box)
    mask = np.zeros((SIDE, SIDE), np.uint8)
    mask[y : y + h, x : x + w] = 1
    mask[y : y + h // 3, x : x + w // 3] = 0
    return rle(mask)


def rle(mask):
    encoded = coco_mask.encode(np.asfortranarray(mask, np.uint8))
    return {"size": [int(v) for v in encoded["size"]], "counts": encoded["counts"].decode()}


def city_scene(case, images=4):
    """``(instance maps, predictions)``: per image a map ``[h,w]`` and a list of (mask, label id, score)."""
    rng = np.random.default_rng(CITY_CASES[case])
    scenes = [_city_image(rng, case) for _ in range(images)]
    return [found for found, _ in scenes], [predictions for _, predictions in scenes]


def _city_image(rng, case):
    height, width = CITY_SIZE
    found, objects, numbers = np.full(CITY_SIZE, 7, np.int32), [], {}
    found[:8] = rng.choice([0, 3, 4, 9, 29, 23])  # void of several kinds, or sky
    for _ in range(rng.integers(4, 9)):
        label = int(rng.choice(CITY_LABELS))
        top, left = rng.integers(0, (height - 25, width - 25))
        h, w = rng.integers(5, 36, 2)
        kind = rng.random()
        if kind < 0.2:
            value = label  # a group
        elif kind < 0.3:
            value = 29000  # a caravan
        else:
            numbers[label] = numbers.get(label, -1) + 1
            value = 1000 * label + numbers[label]
        found[top : top + h, left : left + w] = value
        objects.append((label, top, left, h, w))
    objects = objects * 2 + [(33, 40, 60, 12, 12), (24, 2, 10, 12, 12)]
    predictions = []
    for label, top, left, h, w in objects:
        jitter = rng.integers(-3, 4, 4)
        mask = np.zeros(CITY_SIZE, np.uint8)
        mask[
            max(top + jitter[0], 0) : top + h + jitter[1], max(left + jitter[2], 0) : left + w + jitter[3]
        ] = 1
        if rng.random() < 0.5:
            mask &= (found // 1000 == label) | (rng.random(CITY_SIZE) < 0.2)
        score = float(round(rng.random(), 1)) if case == "equal scores" else float(rng.random())
        predictions.append((mask, label if rng.random() < 0.9 else 31, score))
    return found, predictions


def write_city(maps, root, ending="_gtFine_instanceIds.png"):
    """Writes maps as ``gtFine/aachen/...`` with black images beside them; the paths of the maps."""
    paths = []
    for i, found in enumerate(maps):
        stem = f"aachen/aachen_{i:06d}_000019"
        path = pathlib.Path(root, "gtFine", stem + ending)
        image = pathlib.Path(root, "leftImg8bit", stem + "_leftImg8bit.png")
        for folder in (path.parent, image.parent):
            folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(found.astype(np.uint16)).save(path)
        Image.fromarray(np.zeros((*found.shape, 3), np.uint8)).save(image)
        paths.append(str(path))
    return paths


def faces(boxes, **subsets):
    """``Faces`` of xywh boxes; the keywords give the positions of a subset's members."""
    boxes = np.array(boxes, float).reshape(-1, 4)
    members = {s: np.isin(np.arange(len(boxes)), subsets.get(s, [])) for s in SUBSETS}
    return Faces(boxes, members)


def cells(rows):
    column = np.empty((len(rows), 1), object)
    column[:, 0] = rows
    return column


def write_lists(folder, lists):
    """The lists as the benchmark's MATLAB files."""
    events = sorted({name.split("/")[0] for name in lists})
    of_event = [[name for name in lists if name.startswith(event + "/")] for event in events]
    for subset in SUBSETS:
        content = {
            "event_list": cells(events),
            "file_list": cells([cells([n.split("/")[1] for n in names]) for names in of_event]),
            "face_bbx_list": cells([cells([lists[n].boxes for n in names]) for names in of_event]),
            "gt_list": cells(
                [
                    cells([np.flatnonzero(lists[n].subsets[subset])[:, None] + 1 for n in names])
                    for names in of_event
                ]
            ),
        }
        scipy.io.savemat(folder / f"wider_{subset}_val.mat", content)
