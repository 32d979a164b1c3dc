"""Random objects and detections with errors of every kind. NumPy alone, for recorders run it too."""

import numpy as np


def scene(seed, images=30, classes=4, crowds=True):
    """``(COCO dict, COCO results)``; every score is another."""
    generator = np.random.default_rng(seed)
    truth, results = [], []
    for image in range(1, images + 1):
        count = int(generator.integers(0, 8))
        for _ in range(count):
            x, y = generator.uniform(0, 150, 2)
            box = [float(v) for v in (x, y, *generator.uniform(10, 90, 2))]
            label = int(generator.integers(classes))
            crowd = int(crowds and generator.random() < 0.1)
            truth.append({"image_id": image, "category_id": label + 1, "bbox": box, "iscrowd": crowd})
            for _ in range(int(generator.integers(0, 3))):
                spread = generator.choice([0.02, 0.15, 0.4]) * np.array([box[2], box[3], box[2], box[3]])
                moved = np.array(box) + generator.normal(size=4) * spread
                moved[2:] = np.maximum(moved[2:], 3)
                other = int(generator.integers(classes)) if generator.random() < 0.3 else label
                results.append({"image_id": image, "category_id": other + 1, "bbox": moved.tolist()})
        for _ in range(int(generator.integers(0, 3))):
            x, y = generator.uniform(0, 150, 2)
            box = [float(v) for v in (x, y, *generator.uniform(10, 60, 2))]
            label = int(generator.integers(classes))
            results.append({"image_id": image, "category_id": label + 1, "bbox": box})
    scores = generator.permutation(len(results)) + 1
    for result, score in zip(results, scores.tolist()):
        result["score"] = score / (len(results) + 1)
    for number, one in enumerate(truth, start=1):
        one.update(id=number, area=one["bbox"][2] * one["bbox"][3])
    sizes = [{"id": i + 1, "height": 240, "width": 240, "file_name": f"{i}.png"} for i in range(images)]
    names = [{"id": i + 1, "name": f"c{i}"} for i in range(classes)]
    return {"images": sizes, "categories": names, "annotations": truth}, results
