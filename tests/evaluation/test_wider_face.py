"""WIDER FACE's protocol by hand, and against one written step by step."""

import numpy as np
import pytest

from kdet.evaluation.wider_face import SUBSETS, read_difficulty_lists, wider_face_metrics
from tests.evaluation.scenes import faces, write_lists

LISTS = {
    "0--Parade/one": faces([[10, 10, 40, 40], [100, 100, 8, 8]], easy=[0], medium=[0], hard=[0, 1]),
    "1--March/two": faces([[20, 20, 30, 30]], medium=[0], hard=[0]),
}
NAMES = {5: "0--Parade/one.jpg", 6: "1--March/two.jpg"}


def found(image_id, box, score):
    return {"image_id": image_id, "category_id": 1, "bbox": list(box), "score": score}


HITS = [found(5, (10, 10, 40, 40), 0.9), found(5, (100, 100, 8, 8), 0.8), found(6, (20, 20, 30, 30), 0.7)]


@pytest.mark.parametrize(
    ("results", "want"),
    [
        (HITS, (1.0, 1.0, 1.0)),
        (HITS[:1], (1.0, 1 / 2, 1 / 3)),
        (HITS[1:], (0.0, 1 / 2, 2 / 3)),  # a face outside the subset is no mistake
        # one wrong before all: precision 1/2, 2/3, 3/4; its envelope is 3/4 (hard), 2/3 (medium), 1/2
        ([found(6, (200, 200, 9, 9), 0.95), *HITS], (1 / 2, 2 / 3, 3 / 4)),
        # found twice: wrong, between the others
        ([*HITS, found(5, (10, 10, 40, 40), 0.85)], (1.0, (1 + 2 / 3) / 2, (1 + 3 / 4 + 3 / 4) / 3)),
        (
            [*HITS, found(5, (10, 10, float("nan"), 40), 0.99), found(5, (10, 10, 40, 40), float("inf"))],
            (1, 1, 1),
        ),
        ([], (0.0, 0.0, 0.0)),
    ],
)
def test_by_hand(results, want):
    figures = wider_face_metrics(LISTS, results, NAMES)
    assert [figures[s] for s in SUBSETS] == pytest.approx(list(want), abs=1e-9)


def step_by_step(lists, results, names, subset):
    """The published procedure with loops: every threshold, every image."""
    scores = [r["score"] for r in results]
    low, high = min(scores), max(scores)
    shown, hits, count = np.zeros(1000), np.zeros(1000), 0
    for image_id, name in names.items():
        boxes, wanted = lists[name].boxes, lists[name].subsets[subset]
        count += wanted.sum()
        mine = sorted((r for r in results if r["image_id"] == image_id), key=lambda r: -r["score"])
        if not len(boxes) or not mine:
            continue
        state, proposals, recalls = [0] * len(boxes), [], []
        for r in mine:
            x, y, w, h = r["bbox"]
            overlaps = []
            for a, b, c, d in boxes:
                shared = max(min(x + w, a + c) - max(x, a) + 1, 0) * max(min(y + h, b + d) - max(y, b) + 1, 0)
                overlaps.append(shared / ((w + 1) * (h + 1) + (c + 1) * (d + 1) - shared))
            best = int(np.argmax(overlaps))
            proposals.append(1)
            if overlaps[best] >= 0.5:
                if not wanted[best]:
                    state[best], proposals[-1] = -1, -1
                elif state[best] == 0:
                    state[best] = 1
            recalls.append(state.count(1))
        for t in range(1000):
            above = [i for i, r in enumerate(mine) if (r["score"] - low) / (high - low) >= 1 - (t + 1) / 1000]
            if above:
                shown[t] += proposals[: above[-1] + 1].count(1)
                hits[t] += recalls[above[-1]]
    recall = np.concatenate([[0], hits / count, [1]])
    precision = np.concatenate([[0], hits / np.maximum(shown, 1), [0]])
    for i in range(len(precision) - 1, 0, -1):
        precision[i - 1] = max(precision[i - 1], precision[i])
    return sum((recall[i + 1] - recall[i]) * precision[i + 1] for i in range(len(recall) - 1))


def test_random_scenes_step_by_step():
    rng = np.random.default_rng(0)
    lists, names, results = {}, {}, []
    for i in range(6):
        names[i] = f"e/{i}"
        boxes = np.concatenate([rng.uniform(0, 80, (i, 2)), rng.uniform(4, 40, (i, 2))], 1).round()
        lists[names[i]] = faces(
            boxes, **{s: np.flatnonzero(rng.random(i) < p) for s, p in zip(SUBSETS, (0.3, 0.6, 0.9))}
        )
        for box in [*boxes, *boxes, *rng.uniform(5, 60, (3, 4))]:
            results.append(found(i, box + rng.normal(0, 2, 4), round(rng.random(), 2)))
    figures = wider_face_metrics(lists, results, names)
    for subset in SUBSETS:
        assert figures[subset] == pytest.approx(step_by_step(lists, results, names, subset), abs=1e-9)
        assert 0.2 < figures[subset] < 0.95


def test_the_lists_are_read(tmp_path):
    write_lists(tmp_path, LISTS)
    read = read_difficulty_lists(str(tmp_path))
    assert set(read) == set(LISTS)
    for name, entry in LISTS.items():
        np.testing.assert_array_equal(read[name].boxes, entry.boxes)
        for subset in SUBSETS:
            np.testing.assert_array_equal(read[name].subsets[subset], entry.subsets[subset])


def test_bad_input_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"wider_easy_val.mat: data.val.difficulty_lists"):
        read_difficulty_lists(str(tmp_path))
    (tmp_path / "wider_easy_val.mat").write_bytes(b"not a MATLAB file at all" * 9)
    with pytest.raises(ValueError, match="wider_easy_val.mat is no list of WIDER FACE"):
        read_difficulty_lists(str(tmp_path))
    with pytest.raises(ValueError, match="do not hold the image 0--Parade/three"):
        wider_face_metrics(LISTS, [], {1: "0--Parade/three.jpg"})
