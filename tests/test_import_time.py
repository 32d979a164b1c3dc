"""What `import kdet` brings along: TensorFlow and Keras, and nothing else that takes long."""

from benchmarks import benchmark_import

# what only some uses need, by the time that it takes
HEAVY = (
    "supervision faster_coco_eval scipy.optimize scipy.ndimage scipy.io scipy.sparse.csgraph albumentations "
    "cv2 torch matplotlib.pyplot pooch tqdm tensorflow.lite.python.interpreter"
).split()


def test_import_brings_no_heavy_module():
    _, _, added = benchmark_import.measure()
    assert "kdet.zoo" in added
    assert [name for name in HEAVY if name in added] == []
