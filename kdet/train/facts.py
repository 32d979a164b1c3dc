"""What a checkpoint says about the run that wrote it, so that another run does not take it for its own."""

import hashlib
import json
import pathlib
from typing import Any

import h5py
import numpy as np

from kdet.class_names import require_same
from kdet.errors import CheckpointError, short

ATTRIBUTE = "kdet"
# what must be equal for a run to go on, and what to say about it
EQUAL = {
    "batch_size": "steps count batches, so it cannot go on with another train.batch_size",
    "images": "the training data hold another number of images",
    "data": "the training data are not those of the run (other files, boxes or labels)",
    "seed": "images would come in another order with another train.seed",
}


def facts_of(pipeline: Any, seed: int) -> dict[str, Any]:
    """The facts of a run over a training ``Pipeline``: class names, batch size, and what the data are."""
    digest = hashlib.sha256()
    records = pipeline.index.records
    objects = records.objects
    for name, start, stop in zip(records.names, objects.starts.tolist(), objects.stops.tolist(), strict=True):
        digest.update(str(name).encode())
        digest.update(np.ascontiguousarray(objects.labels[start:stop], np.int32).tobytes())
        digest.update(np.ascontiguousarray(objects.boxes[start:stop], np.float32).tobytes())
    return {
        "class_names": list(pipeline.class_names),
        "batch_size": int(pipeline.batch_size),
        "images": len(pipeline.index),
        "data": digest.hexdigest()[:16],
        "seed": int(seed),
    }


def write(path: str | pathlib.Path, facts: dict[str, Any]) -> None:
    """Put the facts into a ``.weights.h5`` file."""
    with h5py.File(path, "a") as file:
        file.attrs[ATTRIBUTE] = json.dumps(facts)


def read(path: str | pathlib.Path) -> dict[str, Any]:
    """The facts in a ``.weights.h5`` file; empty where another program wrote it.

    Raises:
        CheckpointError: they are damaged.
    """
    with h5py.File(path, "r") as file:
        text = file.attrs.get(ATTRIBUTE, "{}")
    try:
        found = json.loads(text)
    except (ValueError, TypeError) as error:
        raise CheckpointError(f"{path} is damaged: what it says about its run is {short(text)}.") from error
    return found if isinstance(found, dict) else {}


def require_same_run(written: dict[str, Any], now: dict[str, Any], path: str | pathlib.Path) -> None:
    """Raise unless a run with the facts ``now`` may go on from a checkpoint.

    Raises:
        ValueError: naming the setting, both values and what to do.
    """
    hint = (
        f"Resume with the settings of the run, or start another one from its weights (train.initial={path})"
    )
    require_same(
        written.get("class_names"), now["class_names"], f"the checkpoint {path}", "data.train", f"{hint}."
    )
    for key, why in EQUAL.items():
        if key in written and written[key] != now[key]:
            raise ValueError(
                f"--resume: the checkpoint {path} has {key} {written[key]}, this run {now[key]}: {why}. "
                f"{hint} in a work directory of its own."
            )
