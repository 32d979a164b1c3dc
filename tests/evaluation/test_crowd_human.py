"""CrowdHuman's figures against what MMDetection 3.3's ``CrowdHumanMetric`` gave for the same scenes."""

import numpy as np
import pytest

from kdet.evaluation import crowd_human_metrics

# by the seed of the scene; computed by the reference without its rounding to four digits
REFERENCE = {
    0: {"AP": 0.35570859110787534, "MR": 0.9565505713748972, "JI": 0.38360982632412105},
    1: {"AP": 0.49381184337363226, "MR": 0.9378198176222687, "JI": 0.4854145441923514},
    2: {"AP": 0.43737385255583927, "MR": 0.9359472667224716, "JI": 0.4113571177708229},
}


def scene(seed):
    """Six crowded images: seven people and two regions to ignore each, found roughly, and mistakes."""
    draw = np.random.default_rng(seed)
    truth = {"images": [], "annotations": [], "categories": [{"id": 1, "name": "person"}]}
    results = []
    for i in range(6):
        truth["images"].append({"id": i, "file_name": f"{i}.jpg", "width": 160, "height": 120})
        people = np.concatenate([draw.uniform(-10, 110, (9, 2)), draw.uniform(12, 60, (9, 2))], 1).round(2)
        for j, box in enumerate(people):
            truth["annotations"].append(
                {"id": 10 * i + j + 1, "image_id": i, "category_id": 1, "bbox": box.tolist(),
                 "area": float(box[2] * box[3]), "iscrowd": int(j >= 7)}
            )  # fmt: skip
        near = people[draw.integers(0, 9, 14)] + np.round(draw.normal(0, 3, (14, 4)), 2)
        far = np.concatenate([draw.uniform(0, 110, (5, 2)), draw.uniform(12, 60, (5, 2))], 1).round(2)
        scores = np.round(draw.uniform(0.05, 1, 19), 4)
        for box, score in zip(np.concatenate([near, far]), scores, strict=True):
            results.append({"image_id": i, "category_id": 1, "bbox": box.tolist(), "score": float(score)})
    return truth, results


@pytest.mark.parametrize("seed", REFERENCE)
def test_figures_of_the_reference(seed):
    assert crowd_human_metrics(*scene(seed)) == pytest.approx(REFERENCE[seed], abs=1e-12)


def test_images_may_be_chosen():
    truth, results = scene(0)
    some = {
        **truth,
        "images": truth["images"][:2],
        "annotations": [a for a in truth["annotations"] if a["image_id"] < 2],
    }
    wanted = crowd_human_metrics(some, [r for r in results if r["image_id"] < 2])
    assert crowd_human_metrics(truth, results, image_ids={0, 1}) == wanted


def test_nobody_and_nothing_found():
    truth, results = scene(0)
    assert crowd_human_metrics(truth, []) == {"AP": 0.0, "MR": 1.0, "JI": 0.0}
    alone = crowd_human_metrics({**truth, "annotations": []}, results)
    assert np.isnan(list(alone.values())).all()
    perfect = [
        {"image_id": a["image_id"], "category_id": 1, "bbox": a["bbox"], "score": 0.9}
        for a in truth["annotations"]
        if not a["iscrowd"]
    ]
    assert crowd_human_metrics(truth, perfect)["MR"] == 0.0
    assert crowd_human_metrics(truth, perfect)["JI"] == pytest.approx(1.0, abs=1e-6)
