"""How long a training step waits for a checkpoint: ``python -m benchmarks.benchmark_saving [RECIPE]``.

The weights and the momenta of a model are copied while training waits, and written by a thread while it
goes on. Printed are both parts, in wall-clock time and in CPU time of the thread that does them, and the
file's size.
"""

import sys
import tempfile
import time

from kdet.config import Config
from kdet.convert import snapshots
from kdet.train import section
from kdet.train.checkpoints import Checkpoints

REPEATS = 3


def timed(work, *given):
    """``(result, wall-clock seconds, CPU seconds of this thread)`` of a call."""
    wall, cpu = time.perf_counter(), time.thread_time()
    found = work(*given)
    return found, time.perf_counter() - wall, time.thread_time() - cpu


def main(recipe="retinanet_r50_fpn_1x"):
    config = Config.load(recipe)
    model = config.build("model")
    model.compile(section.make_optimizer(section.settings_of(config), 1000))
    with tempfile.TemporaryDirectory() as folder:
        checkpoints = Checkpoints(folder)
        for step in range(1, REPEATS + 1):
            values, wall, cpu = timed(snapshots.snapshot, model)
            print(f"copy  {wall:.2f} s, CPU {cpu:.2f} s (training waits)")
            _, wall, cpu = timed(checkpoints._write, values, step)
            size = checkpoints.path(step).stat().st_size
            print(f"write {wall:.2f} s, CPU {cpu:.2f} s (training goes on), {size / 1e6:.0f} MB")


if __name__ == "__main__":
    main(*sys.argv[1:])
