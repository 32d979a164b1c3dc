"""A random data set of Open Images' kind: a hierarchy of classes, groups, classes that people looked for."""

import numpy as np

CLASSES = 7
# parents of each class: two trees, and a class with parents in both
PARENTS = {1: [0], 2: [0], 3: [1], 5: [4], 6: [4, 2]}


def ancestors():
    """All classes above each class."""

    def above(label):
        direct = PARENTS.get(label, [])
        return {*direct, *(far for near in direct for far in above(near))}

    return {label: sorted(above(label)) for label in range(CLASSES)}


def scene(seed, images=12):
    """``(COCO dict, results, {image id: labels looked for})``; category ids are labels + 1."""
    random = np.random.default_rng(seed)
    truth = {
        "images": [{"id": i, "width": 100, "height": 80} for i in range(images)],
        "categories": [{"id": i + 1, "name": f"class {i}"} for i in range(CLASSES)],
        "annotations": [],
    }
    results, looked_for = [], {}
    for image in range(images):
        looked_for[image] = sorted(random.choice(CLASSES, random.integers(0, 4), replace=False).tolist())
        for _ in range(random.integers(0, 6)):
            label = int(random.integers(CLASSES))
            box = [*random.uniform(0, 50, 2), *random.uniform(10, 40, 2)]
            entry = {"image_id": image, "category_id": label + 1, "bbox": [round(v, 2) for v in box]}
            group = int(random.random() < 0.3)
            number = len(truth["annotations"]) + 1
            truth["annotations"].append({**entry, "id": number, "iscrowd": group, "area": 1.0})
            for _ in range(random.integers(0, 4)):
                moved = np.array(box) + random.normal(0, 3, 4)
                if group:
                    moved[2:] *= random.uniform(0.3, 0.9)
                wrong = random.random() < 0.2
                results.append(
                    {
                        "image_id": image,
                        "category_id": int(random.integers(CLASSES)) + 1 if wrong else label + 1,
                        "bbox": [round(float(v), 2) for v in np.maximum(moved, [0, 0, 1, 1])],
                        "score": round(float(random.uniform(0.05, 1)), 6),
                    }
                )
    return truth, results, looked_for
