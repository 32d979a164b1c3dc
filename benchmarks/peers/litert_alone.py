"""Times a TFLite file with LiteRT alone, without TensorFlow.

    python -I benchmarks/peers/litert_alone.py job.json

The job is ``{"model": file, "pixels": .npy file of uint8, "runs": N, "threads": N}``. Prints one line of
JSON: ``import_s``, ``load_s``, ``first_s``, ``ms``, ``cpu_ms`` and ``peak_mb``.
"""

import json
import pathlib
import sys
import time

START = time.perf_counter()
sys.path.insert(0, str(pathlib.Path(__file__).parent))
import numpy as np  # noqa: E402
from ai_edge_litert.interpreter import Interpreter  # noqa: E402
from timing import time_calls  # noqa: E402

IMPORT = time.perf_counter() - START


def main():
    job = json.loads(pathlib.Path(sys.argv[1]).read_text())
    pixels = np.load(job["pixels"])
    start = time.perf_counter()
    run = Interpreter(job["model"], num_threads=job["threads"]).get_signature_runner()
    load = time.perf_counter() - start
    _, times = time_calls(lambda: run(images=pixels), job["runs"])
    print(json.dumps({"import_s": IMPORT, "load_s": load, **times}))


if __name__ == "__main__":
    main()
