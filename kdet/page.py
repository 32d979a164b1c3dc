"""A page to try detectors in a browser: drop images, move the threshold, see boxes, masks and a table.

Needs Gradio: ``pip install 'kdet[demo]'``.

>>> kdet.page.build({"cells": kdet.page.Local("runs/cells")}).launch()
"""

import base64
import functools
import json
import pathlib
import tempfile
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import requests
import tensorflow as tf

from kdet import zoo
from kdet.detectors import Detector
from kdet.errors import KdetError, first_line
from kdet.results import Result
from kdet.typing import Array, PathLike

TITLE = "kdet"
COLUMNS = ["image", "name", "score", "x1", "y1", "x2", "y2"]
MAX_ROWS = 500


class Model(Protocol):
    """What the page asks: the detections of an image, uint8 RGB ``[h,w,3]``."""

    def detect(self, image: Array) -> Result: ...


class Local:
    """A detector of this process, loaded when it is first asked.

    Args:
        name: as in ``kdet.zoo.load``: a recipe, a preset or the work directory of a run.
        weights: as there.
    """

    def __init__(self, name: PathLike, weights: PathLike | None = "published") -> None:
        self.name, self.weights = name, weights

    @functools.cached_property
    def model(self) -> Detector:
        return zoo.load(self.name, weights=self.weights)

    def detect(self, image: Array) -> Result:
        return next(self.model.predict_iter([image]))


class Served:
    """A SavedModel of kdet behind TensorFlow Serving's REST interface.

    Args:
        url: of the server, ``http://host:8501``.
        name: of the model there.
        class_names: by label; the server does not tell them.

    Raises:
        KdetError: the address is none of REST.
    """

    def __init__(self, url: str, name: str, class_names: Sequence[str] | None = None) -> None:
        if not url.startswith(("http://", "https://")):
            raise KdetError(f"A server's address looks like http://host:8501, not {url!r}.")
        self.url, self.name, self.class_names = url.rstrip("/"), name, class_names

    def detect(self, image: Array) -> Result:
        encoded = base64.b64encode(tf.io.encode_png(image).numpy()).decode()
        body: Any = {"signature_name": "serving_bytes", "instances": [{"encoded": {"b64": encoded}}]}
        try:
            answer = requests.post(f"{self.url}/v1/models/{self.name}:predict", json=body, timeout=120)
        except requests.RequestException as error:
            raise KdetError(f"{self.url} does not answer ({type(error).__name__}).") from error
        if not answer.ok:
            raise KdetError(f"{self.url}: {answer.status_code} {answer.text[:300]}")
        found = answer.json()["predictions"][0]
        number = int(found["num_detections"])
        height, width = image.shape[:2]
        corners = np.array(found["detection_boxes"], np.float32).reshape(-1, 4)[:number]
        boxes = corners[:, [1, 0, 3, 2]] * np.array([width, height, width, height], np.float32)
        scores = np.array(found["detection_scores"], np.float32)[:number]
        labels = np.array(found["detection_classes"], np.float32)[:number].astype(np.int32) - 1
        return Result(boxes, scores, labels, class_names=self.class_names, source=image, size=(height, width))


def build(models: Mapping[str, Model]) -> Any:
    """Return the page, a ``gradio.Blocks``; ``launch()`` serves it.

    Args:
        models: what can be chosen, by name.

    Raises:
        KdetError: Gradio is not installed, or there is no model.
    """
    try:
        import gradio
    except ImportError as error:
        raise KdetError("The page needs Gradio: pip install 'kdet[demo]'.") from error
    if not models:
        raise KdetError("The page needs a model.")
    names = list(models)
    with gradio.Blocks(title=TITLE) as page:
        gradio.Markdown(f"# {TITLE}\nDrop images, choose a model, move the threshold.")
        results = gradio.State([])
        with gradio.Row():
            with gradio.Column(scale=1):
                model = gradio.Dropdown(names, value=names[0], label="Model")
                files = gradio.File(
                    file_count="multiple", file_types=["image"], label="Images", elem_id="images"
                )
                score = gradio.Slider(0, 1, 0.3, step=0.01, label="Lowest score", elem_id="score")
                start = gradio.Button("Detect", variant="primary", elem_id="detect")
            with gradio.Column(scale=2):
                gallery = gradio.Gallery(label="Found", columns=2, elem_id="found", format="png")
                table = gradio.Dataframe(headers=COLUMNS, label="Detections", elem_id="table")
                download = gradio.DownloadButton("Download JSON", elem_id="json")
        shown = [gallery, table, download]

        def detected(name: str, given: list[str] | None, lowest: float) -> tuple[Any, ...]:
            try:
                found = [models[name].detect(_read(path)) for path in given or ()]
            except (KdetError, OSError) as error:
                raise gradio.Error(first_line(error)) from error
            named = list(zip(map(_stem, given or ()), found, strict=True))
            return named, *view(named, lowest)

        start.click(detected, [model, files, score], [results, *shown])
        score.change(view, [results, score], shown, trigger_mode="always_last", show_progress="hidden")
    return page


def view(named: Sequence[tuple[str, Result]], lowest: float) -> tuple[list[Any], list[Any], str]:
    """Return drawings, rows of the table, and a JSON file, of detections from a score on.

    Args:
        named: name and detections of every image.
        lowest: the score.
    """
    above = [(name, result.above(lowest)) for name, result in named]
    drawings = [(result.plot(lowest), name) for name, result in above]
    rows = [
        [name, label, round(float(score), 3), *(round(float(side), 1) for side in box)]
        for name, result in above
        for label, score, box in zip(result.names, result.scores, result.boxes, strict=True)
    ]
    entries = [
        {"image": name, "detections": result.to_coco(number)} for number, (name, result) in enumerate(above)
    ]
    with tempfile.NamedTemporaryFile("w", suffix=".json", prefix="detections-", delete=False) as file:
        json.dump(entries, file)
    return drawings, rows[:MAX_ROWS], file.name


def _read(path: str) -> Array:
    from kdet.data import decoding

    return decoding.load(path)


def _stem(path: str) -> str:
    return pathlib.Path(path).name
