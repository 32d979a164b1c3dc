"""Times the compiled forms of the ops against the portable ones: ``python -m kdet.ops.bench``.

Both forms take turns, on one thread, and what counts is the least processor time of several rounds, so other
work on the machine disturbs little. ``--cpu avx2`` holds both sides to an instruction set (TensorFlow by
``ONEDNN_MAX_CPU_ISA``); ``--write`` puts what is found into the table that the ops choose by
(`kdet.ops.choices`)::

    python -m kdet.ops.bench --cpu baseline avx2 avx512 --write
"""

import argparse
import csv
import dataclasses
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from kdet import ops
from kdet.ops import choices, grouped_conv, processor
from kdet.ops.conv3x3 import CHANNELS, PIXELS
from kdet.ops.conv3x3 import kind as kind_of_conv3x3

# what oneDNN, TensorFlow's library of kernels, calls the instruction sets
ONEDNN = {"baseline": "SSE41", "avx2": "AVX2", "avx512": "ALL"}
_ROUNDS = 5
# longest time that one form of a case is measured for, in seconds
_ENOUGH = 1.5


@dataclasses.dataclass(frozen=True)
class Case:
    """A call of an op, and the class of shapes that it stands for."""

    op: str
    kind: str
    shape: str
    call: Callable[..., Any]
    tensors: tuple[Any, ...]


@dataclasses.dataclass(frozen=True)
class Timing:
    """Milliseconds of processor time of the two forms of a case."""

    cpu: str
    op: str
    kind: str
    shape: str
    compiled: float
    portable: float

    @property
    def ratio(self) -> float:
        return self.compiled / self.portable


def cases(wanted: Sequence[str] = ()) -> Iterator[Case]:
    """What is timed, in the sizes that models use.

    Args:
        wanted: names of ops; none: all.
    """
    rng = np.random.default_rng(0)

    def normal(*shape: int) -> tf.Tensor:
        return tf.constant(rng.standard_normal(shape, dtype=np.float32))

    def uniform(*shape: int) -> tf.Tensor:
        return tf.constant(rng.random(shape, dtype=np.float32))

    if not wanted or "conv3x3" in wanted:
        yield from _convolutions(normal)
    if not wanted or "grouped_conv2d" in wanted:
        yield from _grouped(normal)
    yield from (case for case in _others(normal, uniform) if not wanted or case.op in wanted)


def _convolutions(normal: Callable[..., tf.Tensor]) -> Iterator[Case]:
    def call(x: tf.Tensor, kernel: tf.Tensor, bias: tf.Tensor, form: str) -> tf.Tensor:
        return ops.conv3x3(x, kernel, bias, implementation=form)

    for pixels in PIXELS:
        for channels in CHANNELS:
            # as many outputs as inputs, and a few more, which fill no panel of the kernel
            for outputs in (channels, channels + 4):
                side = round(pixels**0.5)
                x, kernel = normal(1, side, side, channels), normal(3, 3, channels, outputs) * 0.02
                shape = f"{side}x{side}, {channels} -> {outputs}"
                kind = kind_of_conv3x3(x, kernel)
                yield Case("conv3x3", kind, shape, call, (x, kernel, tf.zeros([outputs])))


def _grouped(normal: Callable[..., tf.Tensor]) -> Iterator[Case]:
    for width in grouped_conv.COMPILED_WIDTHS:
        channels = min(32 * width, 512)
        for side, stride in ((32, 1), (96, 1), (64, 2)):
            kernel = normal(3, 3, width, channels) * 0.1

            def call(x: tf.Tensor, kernel: tf.Tensor, form: str, stride: int = stride) -> tf.Tensor:
                groups = x.shape[-1] // kernel.shape[2]
                return ops.grouped_conv2d(x, kernel, stride, 1, groups=groups, implementation=form)

            kind = grouped_conv.kind(kernel, (stride, stride), (1, 1))
            shape = f"{side}x{side}, {channels} in groups of {width}, stride {stride}"
            yield Case("grouped_conv2d", kind, shape, call, (normal(1, side, side, channels), kernel))


def _others(normal: Callable[..., tf.Tensor], uniform: Callable[..., tf.Tensor]) -> Iterator[Case]:
    many = uniform(2, 2000, 2) * tf.constant([1200.0, 700.0])
    candidates = tf.concat([many, many + 8 + 200 * uniform(2, 2000, 2)], -1)
    corners = uniform(1, 1000, 2) * tf.constant([700.0, 400.0])
    boxes = tf.concat([corners, corners + 8 + 200 * uniform(1, 1000, 2)], -1)
    x, kernel, small = normal(1, 50, 84, 128), normal(3, 3, 128, 128) * 0.05, normal(1, 25, 42, 128)
    masks = tf.constant(np.packbits(np.random.default_rng(1).random((1, 10, 400, 664)) > 0.5, axis=-1))
    polygons = ops.polygons_of([[[10.0, 10, 500, 40, 300, 380, 40, 200]]] * 20)
    sizes = ((50, 84), (25, 42))
    value = normal(1, sum(h * w for h, w in sizes), 8, 32)

    def case(op: str, shape: str, call: Callable[..., Any], *tensors: Any) -> Case:
        return Case(op, "", shape, call, tensors)

    def batch_norm(x: tf.Tensor, form: str) -> tf.Tensor:
        gamma = tf.ones(x.shape[-1:])
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = ops.batch_norm(x, gamma, 0 * gamma, implementation=form).y
        return tape.gradient(y, x, y)

    for pixels, channels in ((100, 64), (50, 256), (16, 1024)):
        shape = f"2x{pixels}x{pixels}x{channels}, forward and backward"
        yield case("batch_norm", shape, batch_norm, normal(2, pixels, pixels, channels))
    yield case(
        "carafe",
        "25x42x128 -> 50x84",
        lambda x, m, form: ops.carafe(x, m, kernel_size=5, implementation=form),
        small,
        uniform(1, 50, 84, 25),
    )
    yield case("corner_pool", "50x84x128", lambda x, form: ops.corner_pool(x, "top", implementation=form), x)
    yield case(
        "crop_masks",
        "64 of 10 masks, 400x664",
        lambda m, b, i, form: ops.crop_masks(m, b, i, 28, implementation=form),
        masks,
        boxes[:, :64],
        tf.zeros([1, 64], tf.int32),
    )
    yield case(
        "deform_conv2d",
        "50x84, 128 -> 128",
        lambda x, k, o, form: ops.deform_conv2d(x, k, o, padding=1, implementation=form),
        x,
        kernel,
        normal(1, 50, 84, 18),
    )
    yield case(
        "deform_roi_pool",
        "100 RoIs, 128 channels",
        lambda x, b, o, form: ops.deform_roi_pool(
            (x,), b, tf.zeros([1, 100], tf.int32), o, 7, (8,), implementation=form
        ),
        x,
        boxes[:, :100],
        normal(1, 100, 7, 7, 2),
    )
    yield case(
        "fast_nms",
        "1000 boxes, 20 classes",
        lambda b, s, form: ops.fast_nms(
            b, s, iou_threshold=0.5, score_threshold=0.05, top_k=200, max_output=100, implementation=form
        ),
        boxes,
        uniform(1, 1000, 20),
    )
    yield case(
        "masked_conv2d",
        "50x84, 128 -> 128, a tenth marked",
        lambda x, m, k, form: ops.masked_conv2d(x, m, k, padding=1, implementation=form),
        x,
        uniform(1, 50, 84) < 0.1,
        kernel,
    )
    yield case(
        "ms_deform_attn",
        "1000 queries, 8 heads of 32, 2 levels",
        lambda v, p, w, form: ops.ms_deform_attn(v, sizes, p, w, implementation=form),
        value,
        uniform(1, 1000, 8, 2, 4, 2),
        uniform(1, 1000, 8, 2, 4),
    )
    yield case(
        "nms",
        "2 images, 2000 boxes of 80 classes, 1000 wanted",
        lambda b, s, n, form: ops.nms(b, s, n, iou_threshold=0.5, max_output=1000, implementation=form),
        candidates,
        uniform(2, 2000),
        tf.cast(uniform(2, 2000) * 80, tf.int32),
    )
    yield case(
        "paste_masks",
        "20 masks into 400x664",
        lambda m, b, form: ops.paste_masks(m, b, 400, 664, implementation=form),
        uniform(1, 20, 28, 28),
        boxes[:, :20],
    )
    yield case(
        "point_sample",
        "5000 points, 50x84x128",
        lambda x, p, form: ops.point_sample(x, p, implementation=form),
        x,
        uniform(1, 5000, 2),
    )
    yield case(
        "rasterize_polygons",
        "20 polygons, 400x664",
        lambda form: ops.rasterize_polygons(polygons, 400, 664, implementation=form),
    )
    yield case(
        "roi_align",
        "200 RoIs, 128 channels",
        lambda x, b, form: ops.roi_align(x, b, 7, 1 / 8, implementation=form),
        x,
        boxes[:, :200],
    )
    yield case(
        "soft_nms",
        "1000 boxes",
        lambda b, s, form: ops.soft_nms(b, s, max_output=100, min_score=0.05, implementation=form),
        boxes,
        uniform(1, 1000),
    )


def measure(case: Case) -> Timing:
    """Times both forms of a case by turns."""
    forms = []
    for name in ("compiled", "portable"):
        graph = tf.function(lambda *tensors, name=name: case.call(*tensors, form=name), autograph=False)
        forms.append(graph)
        graph(*case.tensors)
    best = [float("inf")] * 2
    spent = 0.0
    for _ in range(_ROUNDS):
        for number, graph in enumerate(forms):
            start = time.process_time()
            graph(*case.tensors)
            taken = time.process_time() - start
            best[number] = min(best[number], taken)
            spent += taken
        if spent > 2 * _ENOUGH:
            break
    return Timing(processor.cpu(), case.op, case.kind, case.shape, 1e3 * best[0], 1e3 * best[1])


def table(timings: Iterable[Timing]) -> Iterator[str]:
    """Lines for a person."""
    yield f"{'op':19}{'shape':47}{'compiled':>9}{'TensorFlow':>11}{'share':>6}  taken"
    for row in timings:
        pays = choices.pays(row.op, row.kind, row.cpu) if row.kind else not choices.loses(row.op, row.cpu)
        taken = "compiled" if pays else "TensorFlow's"
        yield (f"{row.op:19}{row.shape:47}{row.compiled:9.2f}{row.portable:11.2f}{row.ratio:6.2f}  {taken}")


def write(timings: Iterable[Timing]) -> None:
    """Puts the worst share of every class into the table, in place of what it says of these classes."""
    rows: dict[tuple[str, str, str], float] = {}
    if choices.TABLE.exists():
        with choices.TABLE.open(encoding="utf-8", newline="") as file:
            rows = {(r["cpu"], r["op"], r["kind"]): float(r["ratio"]) for r in csv.DictReader(file)}
    found: dict[tuple[str, str, str], float] = {}
    for row in timings:
        key = (row.cpu, row.op, row.kind)
        found[key] = max(found.get(key, 0.0), row.ratio)
    rows |= found
    order = sorted(rows, key=lambda key: (processor.CPUS.index(key[0]), key[1], _by_numbers(key[2])))
    lines = ["cpu,op,kind,ratio", *(f"{','.join(key)},{rows[key]:.3f}" for key in order)]
    choices.TABLE.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _by_numbers(kind: str) -> list[tuple[int, str]]:
    return [(int(word) if word.isdigit() else 0, word) for word in kind.split()]


def held_to(cpu: str, wanted: Sequence[str]) -> list[Timing]:
    """Times in a process of its own, in which both sides are held to an instruction set."""
    environment = os.environ | {"KDET_CPU": cpu, "ONEDNN_MAX_CPU_ISA": ONEDNN[cpu], "KDET_OPS": "auto"}
    command = [sys.executable, "-m", "kdet.ops.bench", "--json", "--ops", *wanted]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return [Timing(**row) for row in json.loads(done.stdout.splitlines()[-1])]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--cpu", nargs="+", choices=processor.CPUS, help="hold both sides to these")
    parser.add_argument("--ops", nargs="*", metavar="OP", help="only these ops")
    parser.add_argument("--write", action="store_true", help="put the result into the table of choices")
    parser.add_argument("--json", action="store_true", help="print the timings as JSON")
    options = parser.parse_args(arguments)
    if options.cpu:
        timings = [row for cpu in options.cpu for row in held_to(cpu, options.ops or ())]
    else:
        tf.config.threading.set_intra_op_parallelism_threads(1)
        tf.config.threading.set_inter_op_parallelism_threads(1)
        timings = [measure(case) for case in cases(options.ops or ())]
    if options.write:
        write(timings)
    if options.json:
        print(json.dumps([dataclasses.asdict(row) for row in timings]))
    else:
        print("\n".join(table(timings)))


if __name__ == "__main__":
    main()
