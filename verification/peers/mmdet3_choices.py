"""What suppression keeps in DDQ-DETR, which a golden does not say.

    PYTHON mmdet3_choices.py --generator ../shared/oracle3 GOLDEN.npz OUT.npz

Cells in the padding have one score and one box, so that rounding decides which of them is kept, and with it
the contents of a query. ``OUT.npz`` holds ``cells/i``: the cells kept in image i; ``dense/i``: all cells, as
they are ranked for the dense queries; ``layers/l/i``: the queries kept after layer l, as rows of those that
the layer had. Runs in an environment with MMDetection 3.3.
"""

import argparse
import sys

import numpy as np


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--generator", required=True, help="folder of make_golden3.py")
    parser.add_argument("golden")
    parser.add_argument("out")
    options = parser.parse_args()
    sys.path.insert(0, options.generator)
    import compat3  # noqa: F401  (before anything of the reference)
    import core3
    import make_golden3
    from golden3 import Golden

    golden = Golden(options.golden)
    state = golden.state_dict()
    core3._CACHE.clear()
    core3.generate = lambda name, shape, seed, mul=1.0, add=0.0: state[name]
    cells, layers = listen()
    size = [golden.meta["input"]["h"], golden.meta["input"]["w"]]
    config = make_golden3.find_config(golden.meta["config"])
    make_golden3.compute(config, golden.meta["seed"], size, adjust=golden.meta["adjust"], log=lambda *_: None)
    # inference, then training, where the dense queries of an image follow those that it keeps
    found = {f"cells/{i}": cells[i] for i in range(2)}
    found.update({f"dense/{i}": cells[3 + 2 * i] for i in range(2)})
    half = len(layers) // 2
    found.update({f"layers/{k // 2}/{k % 2}": layers[k] for k in range(half)})
    pairs = [*zip(layers[:half], layers[half:]), *((cells[i], cells[2 + 2 * i]) for i in range(2))]
    if any(set(first) != set(second) for first, second in pairs):
        sys.exit("Training keeps others than inference.")
    np.savez_compressed(options.out, **{name: rows.astype(np.int32) for name, rows in found.items()})


def listen():
    """Two lists to which every call of the reference's suppression, of cells or queries, adds its rows."""
    from mmdet.models.detectors import ddq_detr
    from mmdet.models.layers.transformer import ddq_detr_layers

    heard = []
    for module in (ddq_detr, ddq_detr_layers):
        heard.append([])

        def listening(*args, suppress=module.batched_nms, kept=heard[-1]):
            boxes, rows = suppress(*args)
            kept.append(rows.detach().numpy())
            return boxes, rows

        module.batched_nms = listening
    return heard


if __name__ == "__main__":
    main()
