"""Runs exported detectors with TensorFlow alone: kdet and OpenCV cannot be imported here.

    python -I benchmarks/peers/tensorflow_alone.py [jobs.json]

A job is one line of JSON, of the file or the standard input: ``{"model": folder, "signature": name,
"images": [files], "out": ...npz}``, with ``"runs": N`` to time N calls after the first and
``"library": file`` to load compiled ops before. ``serving_default`` is given the decoded pixels, the others
the files' bytes; ``"proposals"`` are passed on to models that take them. Writes the outputs and prints one
line of JSON per job: ``import_s``, ``load_s``, ``first_s``, ``ms``, ``cpu_ms`` (of all threads) and
``peak_mb``, or ``error``.
"""

import fileinput
import json
import pathlib
import sys
import time

START = time.perf_counter()
FORBIDDEN = ("kdet", "cv2")


class Forbid:
    """First of the importers: refuses what a server does not have."""

    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in FORBIDDEN:
            raise ImportError(f"{name} is not available here.")


sys.meta_path.insert(0, Forbid())
sys.path.insert(0, str(pathlib.Path(__file__).parent))
import numpy as np  # noqa: E402
import tensorflow as tf  # noqa: E402
from timing import time_calls  # noqa: E402

IMPORT = time.perf_counter() - START


def main():
    for line in fileinput.input():
        try:
            result = run(json.loads(line))
        except (tf.errors.OpError, ValueError, OSError) as error:
            result = {"error": str(error).strip().splitlines()[0]}
        print(json.dumps(result), flush=True)


def run(job):
    start = time.perf_counter()
    if "library" in job:
        tf.load_op_library(job["library"])
    loaded = tf.saved_model.load(job["model"])
    signature = loaded.signatures[job["signature"]]
    load = time.perf_counter() - start
    inputs = make_inputs(job["signature"], job["images"])
    if "proposals" in job:
        inputs["proposals"] = tf.constant(job["proposals"], tf.float32)
    found, times = time_calls(
        lambda: {name: value.numpy() for name, value in signature(**inputs).items()}, job.get("runs", 0)
    )
    np.savez(job["out"], **found)
    return {"import_s": IMPORT, "load_s": load, **times}


def make_inputs(signature, images):
    encoded = []
    for path in images:
        with open(path, "rb") as file:
            encoded.append(file.read())
    if signature == "serving_bytes":
        return {"encoded": tf.constant(encoded)}
    if signature == "serving_tf_example":
        return {"examples": tf.constant([example(image) for image in encoded])}
    return {"images": tf.stack([tf.io.decode_image(image, channels=3) for image in encoded])}


def example(encoded):
    feature = tf.train.Feature(bytes_list=tf.train.BytesList(value=[encoded]))
    features = tf.train.Features(feature={"image/encoded": feature})
    return tf.train.Example(features=features).SerializeToString()


if __name__ == "__main__":
    main()
