"""How long a data set takes to start, and in how much memory.

    python -m benchmarks.coco_size /tmp/coco_size
    python -m benchmarks.benchmark_index /tmp/coco_size/annotations.json /tmp/coco_size/images

Every start is a process of its own. The first builds the index (in a cache of its own, beside the file), the
others find it. Memory is the highest resident set over that with the frameworks imported; ``private`` leaves
out the pages of mapped files, which the processes of a machine share.
"""

import argparse
import json
import os
import pathlib
import shutil
import subprocess
import sys
import time


def start(annotations: str, images: str, masks: bool) -> dict[str, float]:
    """Reads the index in this process and says what it took."""
    import kdet.data

    before, private = memory("VmRSS"), memory("RssAnon")
    began, cpu = time.perf_counter(), time.process_time()
    spec = {
        "annotations": annotations,
        "images": images,
        "masks": masks,
        "transforms": [{"type": "Resize", "sizes": [[1333, 800]]}, {"type": "RandomFlip"}],
    }
    pipeline = kdet.data.load(spec, training=True, batch_size=2)
    seconds = time.perf_counter() - began
    return {
        "seconds": round(seconds, 2),
        "cpu_seconds": round(time.process_time() - cpu, 2),
        "peak_mb": round(memory("VmHWM") - before),
        "private_mb": round(memory("RssAnon") - private),
        "images": len(pipeline.index),
        "objects": pipeline.index.num_objects,
    }


def memory(key: str) -> float:
    """A line of Linux' account of this process, in MB."""
    for line in pathlib.Path("/proc/self/status").read_text().splitlines():
        if line.startswith(key + ":"):
            return int(line.split()[1]) / 1024
    raise KeyError(key)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("annotations")
    parser.add_argument("images")
    parser.add_argument("--boxes", action="store_true", help="without masks")
    parser.add_argument("--starts", type=int, default=3)
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(start(options.annotations, options.images, not options.boxes)))
        return
    cache = pathlib.Path(options.annotations).with_name("cache")
    shutil.rmtree(cache, ignore_errors=True)
    for number in range(options.starts):
        command = [sys.executable, "-m", "benchmarks.benchmark_index", "--one", *sys.argv[1:]]
        environment = {**os.environ, "KDET_HOME": str(cache), "TF_CPP_MIN_LOG_LEVEL": "3"}
        done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
        print(f"start {number + 1}: {done.stdout.strip().splitlines()[-1]}")


if __name__ == "__main__":
    main()
