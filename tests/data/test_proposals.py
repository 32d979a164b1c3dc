"""Proposal files of every kind, and their way through the pipeline."""

import json
import pickle

import numpy as np
import pytest

import kdet.data
from kdet.data.proposals import read_proposals

ROWS = [
    np.array([[1, 2, 30, 40, 0.2], [10, 8, 50, 38, 0.9]], np.float32),
    np.zeros((0, 5), np.float32),
    np.array([[0, 0, 9, 9, 0.5]], np.float32),
]
IDS = [1, 2, 3]


def write(path):
    if path.suffix == ".pkl":
        path.write_bytes(pickle.dumps(ROWS, protocol=2))
    elif path.suffix == ".npz":
        np.savez(path, **{str(i): rows for i, rows in zip(IDS, ROWS, strict=True)})
    else:
        entries = [
            {"image_id": i, "bbox": [x1, y1, x2 - x1, y2 - y1], "score": score, "category_id": 1}
            for i, rows in zip(IDS, ROWS, strict=True)
            for x1, y1, x2, y2, score in rows.tolist()
        ]
        path.write_text(json.dumps(entries))
    return str(path)


@pytest.mark.parametrize("ending", ["pkl", "npz", "json"])
def test_kinds_agree(tmp_path, ending):
    found = read_proposals(write(tmp_path / f"p.{ending}"), IDS, limit=2)
    np.testing.assert_allclose(found[0], ROWS[0][::-1, :4])  # best first
    assert found[1].shape == (0, 4)
    assert read_proposals(tmp_path / f"p.{ending}", IDS, limit=1)[0].shape == (1, 4)


def test_pipeline_moves_them_with_the_image(coco, tmp_path):
    coco.update(proposals=write(tmp_path / "p.pkl"), max_proposals=5, filter_empty=True)
    coco["transforms"] = [*coco["transforms"], {"type": "RandomFlip", "probability": 1}]
    pipeline = kdet.data.load(coco, training=True, batch_size=1)
    seen = {int(x["image_id"][0]): x for x, _ in pipeline.dataset().take(2)}
    (h, w), (sy, sx) = seen[1]["valid_size"][0].numpy(), seen[1]["scale"][0].numpy()
    got = seen[1]["proposals"][0].numpy()
    assert got.shape == (5, 4) and not got[2:].any() and h == 80
    np.testing.assert_allclose(got[0], [w - 50 * sx, 8 * sy, w - 10 * sx, 38 * sy], atol=1e-4)
    assert not seen[2]["proposals"].numpy().any()


def test_a_pickle_that_would_run_code_is_refused(tmp_path):
    class Evil:
        def __reduce__(self):
            return (print, ("run",))

    path = tmp_path / "evil.pkl"
    path.write_bytes(pickle.dumps([Evil()]))
    with pytest.raises(ValueError, match=r"arrays only, not builtins.print"):
        read_proposals(path, [1], 10)


def test_mismatches_are_explained(tmp_path):
    with pytest.raises(ValueError, match="3 images; the dataset has 2"):
        read_proposals(write(tmp_path / "p.pkl"), [1, 2], 10)
    with pytest.raises(ValueError, match="no proposals for 1 images, e.g. id 9"):
        read_proposals(write(tmp_path / "p.npz"), [1, 9], 10)
    with pytest.raises(ValueError, match="must end with"):
        read_proposals("p.txt", [1], 10)
