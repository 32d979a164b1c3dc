"""Saves every model of the zoo in every way and loads it again: are all weights the same to the bit?

    python -m verification.check_saving                     # small variants of all recipes
    python -m verification.check_saving --name "detr*"

Weights are drawn at random and set to zero before a file is loaded. Results go to
verification/results/saving.json by Keras version, after every model; what stands there is not run again
unless it is named. Recipes whose small models differ in losses, assigners and samplers alone share a result.
Exits with 1 when a model lost a weight.
"""

import argparse
import fnmatch
import json
import pathlib
import sys
import tempfile
from collections.abc import Callable

NO_WEIGHTS = ("losses", "assigners", "samplers")
STORE = pathlib.Path(__file__).resolve().parent / "results" / "saving.json"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--name", help="shell pattern of recipes to run (again)")
    options = parser.parse_args()
    import keras

    from kdet.config import Config, recipes
    from verification.small import small_variant

    results, done = _read().get(keras.__version__, {}), {}
    for name in sorted(recipes()):
        config = small_variant(Config.load(name))
        key = _structure(config["model"])
        if name in results and not (options.name and fnmatch.fnmatch(name, options.name)):
            done.setdefault(key, results[name])
            continue
        if options.name and not fnmatch.fnmatch(name, options.name):
            continue
        if key not in done:
            done[key] = _told(config)
            print(f"{name}: {done[key]}", flush=True)
            keras.backend.clear_session()
        results[name] = done[key]
        _write(keras.__version__, results)
    lost = {name: verdict for name, verdict in results.items() if verdict != "ok"}
    print(f"Keras {keras.__version__}: {len(results) - len(lost)} of {len(results)} recipes lose nothing.")
    sys.exit(1 if lost else 0)


def _structure(spec) -> str:
    """What decides which weights a model has: its section without losses, assigners and samplers."""
    from kdet import registry

    def kept(value):
        if isinstance(value, list):
            return [kept(entry) for entry in value]
        if not isinstance(value, dict):
            return value
        room = registry.get(value["type"]).__module__.split(".")[1] if "type" in value else ""
        return None if room in NO_WEIGHTS else {key: kept(entry) for key, entry in value.items()}

    return json.dumps({**kept(spec), "preprocessor": None}, sort_keys=True)


def _read() -> dict[str, dict[str, str]]:
    return json.loads(STORE.read_text(encoding="utf-8")) if STORE.exists() else {}


def _write(version: str, results: dict[str, str]) -> None:
    """Replace the results of one version; a sweep of another may be writing too."""
    text = json.dumps({**_read(), version: results}, indent=1, sort_keys=True) + "\n"
    part = STORE.with_suffix(f".{version}")
    part.write_text(text, encoding="utf-8")
    part.replace(STORE)


def _told(config) -> str:
    """``"ok"`` or what was lost."""
    try:
        return "; ".join(f"{way}: {loss}" for way, loss in losses(config.build("model")).items()) or "ok"
    except Exception as error:  # whatever it is, it goes into the report
        return f"{type(error).__name__}: {str(error).splitlines()[0]}"[:300]


def losses(model) -> dict[str, str]:
    """Save a model in every way and load it again, into itself after its weights were set to zero.

    Its weights are overwritten. (A ``.keras`` file makes a model of its own.)

    Returns:
        ``{way: the first weights that did not come back}`` of the ways that lose some.
    """
    import numpy as np

    from kdet.convert.walk import training_state

    draw = np.random.default_rng(0)
    wanted = [draw.uniform(0.5, 1.5, v.shape).astype(v.dtype) for v in model.weights]
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for way, (write, read) in _ways().items():
            for variable, value in zip(model.weights, wanted, strict=True):
                variable.assign(value)
            path = pathlib.Path(folder) / f"model{way}"
            write(model, path)
            for variable in model.weights:
                variable.assign(np.zeros(variable.shape, variable.dtype))
            loaded = read(model, path)
            left_out = {id(v) for v in training_state(loaded)} if way in WITHOUT_TRAINING_STATE else ()
            lost = [
                variable.path
                for value, variable in zip(wanted, loaded.weights, strict=True)
                if id(variable) not in left_out and not np.array_equal(variable.numpy(), value)
            ]
            if lost:
                found[way] = f"{len(lost)} of {len(model.weights)} weights, {', '.join(lost[:3])}"
            path.unlink()
    return found


def _load_keras(model, path):
    import keras

    return keras.models.load_model(path)


def _into(load: Callable) -> Callable:
    def read(model, path):
        load(model, path)
        return model

    return read


def _ways() -> dict[str, tuple[Callable, Callable]]:
    from kdet import convert
    from kdet.convert import cache

    return {
        ".keras": (lambda model, path: model.save(path), _load_keras),
        ".weights.h5": (
            lambda model, path: model.save_weights(path),
            _into(lambda model, path: model.load_weights(path)),
        ),
        ".safetensors": (cache.save_weights, _into(cache.load_weights)),
        ".pth": (convert.save_checkpoint, _into(convert.load_checkpoint)),
    }


# checkpoints hold what the model is, not where its training stands
WITHOUT_TRAINING_STATE = (".safetensors", ".pth")

if __name__ == "__main__":
    main()
