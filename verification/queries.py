"""Detection transformers of MMDetection 3 against their goldens: places of layers, choices and draws."""

import contextlib
import pathlib

import numpy as np
import tensorflow as tf

from kdet.heads.query import NoiseDraws
from kdet.heads.query.base import QueryHead
from kdet.heads.query.dino import CellQueryHead
from verification import inputs

# what a golden does not say, by peers/mmdet3_choices.py
CHOICES = pathlib.Path(__file__).parent / "results" / "choices"


def head_of(model, *kinds):
    """The model's head of one of these classes, or None."""
    return next((layer for layer in model.layers if isinstance(layer, kinds)), None)


def place_of(model, path):
    """Where kdet has the layer of a golden: the reference's encoder and decoder belong to the detector."""
    inside = path.split(".")[0] in ("encoder", "decoder") and head_of(model, QueryHead) is not None
    return f"bbox_head.transformer.{path}" if inside else path


def form_of(golden, name, array):
    """A recorded output as the reference has it.

    The reference decodes the last layer only in some heads, and its decoder gives the references that it
    starts from too, which are not compared.
    """
    shape = golden.meta["arrays"][name]["shape"]
    if golden.meta.get("reference") != "mmdet" or array.ndim != len(shape):
        return array
    if name.startswith("bbox_head/") and shape[0] == 1:
        return array[-1:]
    if name.startswith("decoder/") and shape[0] == len(array) + 1:
        array = np.concatenate([array[:1], array])
        wanted = golden.d[f"s/{name}"]
        rows = inputs.sample_indices(array.size, wanted.size)
        first = rows < array[0].size
        array.reshape(-1)[rows[first]] = wanted[first]
    return array


@contextlib.contextmanager
def chosen(model, golden):
    """Context in which a head starts from the queries that the reference chose."""
    head = head_of(model, CellQueryHead)
    file = CHOICES / f"{pathlib.Path(golden.path).stem}.npz"
    if "f/topk/0" in golden.d and golden.meta.get("reference") == "mmdet":
        from verification.transformers_stages import chosen_queries  # which imports this file

        with chosen_queries(head, golden):
            yield
    elif file.exists():
        with np.load(file) as found:
            choices = Choices(head, dict(found))
        object.__setattr__(head, "suppress_boxes", choices.suppress_boxes)
        object.__setattr__(head, "best_cells", choices.best_cells)
        yield
        del head.__dict__["suppress_boxes"], head.__dict__["best_cells"]
    else:
        yield


class Choices:
    """Stands in for what a ``DDQHead`` chooses; rows that it would take otherwise have the score of others.

    Args:
        head: the head.
        rows: what ``peers/mmdet3_choices.py`` recorded.
    """

    def __init__(self, head, rows):
        self.rows, self.own, self.layer = rows, head.suppress_boxes, 0

    def best_cells(self, scores, count=None):
        return tf.constant(np.stack([self.rows[f"dense/{i}"] for i in range(2)])[:, :count])

    def suppress_boxes(self, boxes, scores, count):
        scores = scores.numpy()
        if boxes.shape[1] == len(self.rows["dense/0"]):
            self.layer, kept = 0, [self.rows[f"cells/{i}"][:count] for i in range(2)]
        else:
            rows = [self.rows[f"layers/{self.layer}/{i}"] for i in range(2)]
            kept = [np.flatnonzero(scores[i] >= 0)[rows[i]] for i in range(2)]
            self.layer += 1
        mine, number = (x.numpy() for x in self.own(boxes, tf.constant(scores), count))
        found = np.zeros_like(mine)
        for i in range(2):
            assert len(kept[i]) == number[i], "suppression keeps another number than the reference"
            gap = np.abs(scores[i][kept[i]] - scores[i][mine[i, : number[i]]]).max()
            assert gap < 1e-5, f"suppression keeps others than the reference, {gap:.1e} apart"
            found[i, : len(kept[i])] = kept[i]
        return tf.constant(found), tf.constant(number)


def fix_draws(model, golden):
    """Makes the noise of a head's denoising that of the golden.

    The reference draws for real objects only, group by group, and labels for the replaced ones alone.
    """
    head = head_of(model, CellQueryHead)
    if head is None or golden.meta.get("reference") != "mmdet":
        return
    denoising = head.denoising
    flips, labels, signs, sizes = (golden.draw(k) for k in range(4))
    counts = [len(golden.gt(i)[1]) for i in range(2)]
    objects = [(image, row) for image, count in enumerate(counts) for row in range(count)]
    labels = iter(labels)

    def draw(seed, batch, slots, num_classes):
        found = NoiseDraws(
            np.ones([2, slots], np.float32),
            np.zeros([2, slots], np.int32),
            np.ones([2, slots, 4], np.float32),
            np.zeros([2, slots, 4], np.float32),
        )
        for k in range(len(flips)):
            half, (image, row) = k // len(objects), objects[k % len(objects)]
            slot = image, half * max(counts) + row
            found.flips[slot], found.signs[slot], found.sizes[slot] = flips[k], 2 * signs[k] - 1, sizes[k]
            if flips[k] < denoising.flip_probability:
                found.labels[slot] = next(labels)
        return NoiseDraws(*map(tf.constant, found))

    denoising.draw = draw
