"""Random panoptic scenes in COCO's layout, and what ``panopticapi`` says of them.

    python -m tests.evaluation.panoptic_scenes

writes ``panoptic_recorded.json`` anew; it needs the package ``panopticapi`` (or ``panopticapi-lite``).
"""

import json
import pathlib
import tempfile

import numpy as np
from PIL import Image

RECORDED = pathlib.Path(__file__).with_name("panoptic_recorded.json")
# two things, three kinds of stuff, with ids that are no labels
CATEGORIES = [
    {"id": 11, "name": "sky", "isthing": 0},
    {"id": 5, "name": "cat", "isthing": 1},
    {"id": 7, "name": "dog", "isthing": 1},
    {"id": 12, "name": "grass", "isthing": 0},
    {"id": 20, "name": "road", "isthing": 0},
]
LABELS = [5, 7, 11, 12, 20]  # category of every label: things, then stuff
SIZE = (48, 64)


def blocks(draw, count):
    """A map of ``count`` segments and of places without one: int ``SIZE``, 0 for none."""
    grid = draw.integers(0, count + 1, (6, 8))
    return np.kron(grid, np.ones((8, 8), int))


def scenes(seed, images=12):
    """Per image the true map, ``{number: label}``, crowds, the found map and its labels."""
    draw = np.random.default_rng(seed)
    for _ in range(images):
        count = int(draw.integers(2, 7))
        truth = blocks(draw, count)
        labels = {n: int(draw.integers(0, len(LABELS))) for n in range(1, count + 1)}
        crowds = frozenset(n for n, label in labels.items() if label < 2 and draw.random() < 0.25)
        numbers = {n: int(draw.integers(1, 2**24)) for n in labels}  # any color
        # what is found is the truth, moved, in part of another class, and with something invented
        found = np.roll(truth, draw.integers(0, 3, 2), (0, 1))
        kept = sorted(set(np.unique(found)) - {0})
        names = [labels[n] if draw.random() < 0.85 else int(draw.integers(0, len(LABELS))) for n in kept]
        found = np.searchsorted([0, *kept], found)
        if draw.random() < 0.5:
            names.append(int(draw.integers(0, len(LABELS))))
            found[: draw.integers(4, 20), : draw.integers(4, 30)] = len(names)
        colored = np.zeros(SIZE, int)
        for n, number in numbers.items():
            colored[truth == n] = number
        there = {n for n in labels if (truth == n).any()}
        yield (
            colored,
            {numbers[n]: labels[n] for n in there},
            frozenset(numbers[n] for n in crowds & there),
            found,
            names,
        )


def colors(numbers):
    """A map of numbers as COCO's PNGs have it: uint8 ``[h,w,3]``."""
    return np.stack([numbers % 256, numbers // 256 % 256, numbers // 65536], -1).astype(np.uint8)


def write(folder, seed):
    """Images, JSON and PNGs of the truth and of what was found; returns the two JSON files."""
    folder = pathlib.Path(folder)
    content = {"images": [], "categories": CATEGORIES}
    sides = {"truth": [], "found": []}
    for name in (*sides, "images"):
        (folder / name).mkdir(exist_ok=True)
    for i, (truth, labels, crowds, found, names) in enumerate(scenes(seed)):
        content["images"].append({"id": i, "file_name": f"{i}.png", "height": SIZE[0], "width": SIZE[1]})
        Image.fromarray(colors(truth)).save(folder / "images" / f"{i}.png")
        wanted = [(n, label, int(n in crowds)) for n, label in labels.items()]
        given = [(n + 1, label, 0) for n, label in enumerate(names) if (found == n + 1).any()]
        for side, numbers, segments in (("truth", truth, wanted), ("found", found, given)):
            Image.fromarray(colors(numbers)).save(folder / side / f"{i}.png")
            infos = [segment(numbers == n, n, LABELS[label], crowd) for n, label, crowd in segments]
            sides[side].append({"image_id": i, "file_name": f"{i}.png", "segments_info": infos})
    for side, annotations in sides.items():
        (folder / f"{side}.json").write_text(json.dumps({**content, "annotations": annotations}))
    return folder / "truth.json", folder / "found.json"


def segment(inside, number, category, crowd):
    """An entry of ``segments_info``."""
    rows, columns = np.flatnonzero(inside.any(1)), np.flatnonzero(inside.any(0))
    box = [columns[0], rows[0], columns[-1] - columns[0] + 1, rows[-1] - rows[0] + 1]
    return {
        "id": number,
        "category_id": category,
        "iscrowd": crowd,
        "bbox": [int(v) for v in box],
        "area": int(inside.sum()),
    }


def record(seeds=(0, 1, 2)):
    """What ``panopticapi`` says of the scenes of some seeds."""
    from panopticapi.evaluation import pq_compute

    figures = {}
    for seed in seeds:
        with tempfile.TemporaryDirectory() as folder:
            truth, found = write(folder, seed)
            said = pq_compute(str(truth), str(found), str(truth)[:-5], str(found)[:-5])
        figures[str(seed)] = {
            f"{key.upper()}{suffix}": said[group][key]
            for group, suffix in (("All", ""), ("Things", "_things"), ("Stuff", "_stuff"))
            for key in ("pq", "sq", "rq")
        }
    return figures


if __name__ == "__main__":
    RECORDED.write_text(json.dumps(record(), indent=1) + "\n")
