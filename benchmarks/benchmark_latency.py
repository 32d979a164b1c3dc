"""How long ``predict`` takes for one image, model by model: what ``kdet.zoo.recommend`` goes by.

    python benchmarks/benchmark_latency.py "rtmdet*" "rtdetr_r50vd_6x"      # print
    python benchmarks/benchmark_latency.py --device cpu-avx512-2 --write    # all of COCO's models that lead

The image has 640x480 random pixels and every model brings it to its own size. Weights are random: times of
suppression are those of few detections. The median of ``--rounds`` calls after two that do not count. With
``--write`` the rows of that device in configs/latency.csv are replaced, model by model.
"""

import argparse
import csv
import fnmatch
import os
import pathlib
import statistics
import subprocess
import sys
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

TABLE = pathlib.Path(__file__).resolve().parent.parent / "configs" / "latency.csv"
FIELDS = ("name", "device", "milliseconds")
# those that people choose from: the newest of every size, and what they know
LEADING = (
    "rtmdet_tiny_300e", "rtmdet_s_300e", "rtmdet_m_300e", "rtmdet_l_300e", "rtmdet_x_300e",
    "rtmdet-ins_tiny_300e", "rtmdet-ins_s_300e", "rtmdet-ins_m_300e", "rtmdet-ins_l_300e",
    "rtdetr_r18vd_6x", "rtdetr_r50vd_6x", "rtdetrv2_r18vd_120e", "rtdetrv2_r50vd_6x",
    "dfine_n", "dfine_s", "dfine_m", "dfine_l", "dfine_x",
    "deimv2_atto", "deimv2_femto", "deimv2_pico", "deimv2_n", "deimv2_s", "deimv2_m", "deimv2_l",
    "yolox_tiny_8x8_300e", "yolox_s_8x8_300e", "ssdlite_mobilenetv2_scratch_600e",
    "retinanet_r50_fpn_1x", "faster_rcnn_r50_fpn_1x", "mask_rcnn_r50_fpn_1x", "dino-4scale_r50_12e",
    "mask2former_r50_lsj_8x2_50e_coco-panoptic", "panoptic_fpn_r50_fpn_1x",
)  # fmt: skip


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("patterns", nargs="*", default=LEADING, help="names or shell patterns of recipes")
    parser.add_argument("--device", default="cpu", help="name of this machine in the table")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--write", action="store_true", help=f"into {TABLE.name}")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(measured(options.one, options.rounds))
        return
    from kdet.config import recipes

    names = [n for n in sorted(recipes()) if any(fnmatch.fnmatch(n, p) for p in options.patterns)]
    if not names:
        sys.exit(f"No recipe matches {', '.join(options.patterns)}.")
    for name in names:  # each in a process of its own: nothing is warm from another
        command = [sys.executable, __file__, "--one", name, "--rounds", str(options.rounds)]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
        if done.returncode:
            print(f"{name}: failed", flush=True)
            continue
        milliseconds = float(done.stdout.splitlines()[-1])
        print(f"{name:50} {milliseconds:8.1f} ms", flush=True)
        if options.write:
            write({"name": name, "device": options.device, "milliseconds": f"{milliseconds:.1f}"})


def measured(name, rounds):
    """Milliseconds of ``predict`` for one image."""
    import numpy as np

    import kdet

    model = kdet.zoo.load(name, weights=None)
    image = np.random.default_rng(0).integers(0, 256, (480, 640, 3), np.uint8)
    times = []
    for _ in range(rounds + 2):
        start = time.perf_counter()
        model.predict([image], verbose=0)
        times.append(1e3 * (time.perf_counter() - start))
    return statistics.median(times[2:])


def write(row):
    """Replaces or adds one row of the table."""
    rows = list(csv.DictReader(TABLE.open(encoding="utf-8"))) if TABLE.exists() else []
    rows = [old for old in rows if (old["name"], old["device"]) != (row["name"], row["device"])]
    with open(TABLE, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, FIELDS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(sorted([*rows, row], key=lambda one: (one["device"], one["name"])))


if __name__ == "__main__":
    main()
