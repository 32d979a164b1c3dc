"""The drawn data set: what it holds is what a reader finds, and is the same every time."""

import numpy as np
import pytest

from kdet import curation
from kdet.curation.shapes import SHAPES, draw_shapes, scene


def test_a_reader_finds_what_was_drawn(tmp_path):
    folder = draw_shapes(tmp_path / "shapes", train=6, val=2)
    splits = curation.read_splits(folder)
    report = curation.check(splits)
    assert {name: len(index) for name, index in splits.items()} == {"train": 6, "val": 2}
    assert splits["train"].class_names == list(SHAPES)
    assert report.count == 0, report.lines()
    random = np.random.default_rng(0)
    drawn = [len(scene(random)[1]) for _ in range(6)]
    assert report.statistics["train"]["objects"] == sum(drawn) > 6


def test_masks_lie_where_their_shape_is_seen():
    image, shapes = scene(np.random.default_rng(3), 64)
    assert image.shape == (64, 64, 3) and image.dtype == np.uint8
    seen = np.sum([mask for _, mask in shapes], axis=0)
    assert seen.max() == 1  # what lies behind another shape is not seen
    ground = np.median(image[seen == 0], axis=0)
    for label, mask in shapes:
        assert label in range(3)
        assert np.abs(np.median(image[mask], axis=0) - ground).max() > 40


def test_the_same_seed_draws_the_same(tmp_path):
    one, two, other = (
        draw_shapes(tmp_path / name, seed=seed, train=1) for name, seed in (("a", 5), ("b", 5), ("c", 6))
    )
    first, second, third = ((at / "images/train/0000.png").read_bytes() for at in (one, two, other))
    assert first == second != third


@pytest.mark.parametrize(
    "arguments, message",
    [({"side": 20}, "side is 20"), ({"train": 0}, "'train' has 0 images")],
)
def test_what_cannot_be_drawn_is_refused(tmp_path, arguments, message):
    with pytest.raises(ValueError, match=message):
        draw_shapes(tmp_path / "shapes", **arguments)
    assert not (tmp_path / "shapes").exists()


def test_a_folder_that_holds_something_is_kept(tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(FileExistsError, match="not empty"):
        draw_shapes(tmp_path)
