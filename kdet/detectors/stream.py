"""Detections of many images, one after the other, in bounded memory."""

import dataclasses
import queue
import threading
from collections.abc import Generator, Iterable, Iterator
from typing import Any, Literal, TypeAlias, TypeVar

from kdet.contract import Canvas
from kdet.detectors.given import images_of
from kdet.detectors.predict import Augmentation, view_batches
from kdet.errors import DataError
from kdet.results import MasksOnDemand, Result, segments_of

T = TypeVar("T")
OnCorrupt: TypeAlias = Literal["raise", "report"]

# an image waits for others of its shape while so many batches' worth go by
AHEAD = 8
BATCHES_READ_AHEAD = 2


def predict_each(
    model: Any,
    images: Any,
    batch_size: int = 1,
    augment: Any = None,
    canvas: Canvas = "own",
    on_corrupt: OnCorrupt = "raise",
) -> Generator[Result, None, None]:
    """Detections of images in their order; arguments and errors as in ``Detector.predict_iter``."""
    from kdet.data import decoding  # the pipeline is only needed here, and import time is precious

    if on_corrupt not in ("raise", "report"):
        raise ValueError(f"on_corrupt is 'raise' or 'report', not {on_corrupt!r}.")
    augmentation = Augmentation.of(augment)
    waiting: dict[int, Any] = {}  # position of an image: the image as it was given
    places: list[int] = []  # of the images that could be read
    done: dict[int, Result] = {}

    def readable() -> Iterator[Any]:
        for position, given in enumerate(images_of(images)):
            waiting[position] = given
            try:
                image = decoding.load(given)
            except (DataError, TypeError) as error:
                if on_corrupt == "raise":
                    raise
                done[position] = Result.failed(str(error), model.class_names, given)
                continue
            places.append(position)
            yield image

    batches = view_batches(model, readable(), batch_size, augmentation, canvas, ahead=AHEAD * batch_size)
    following = 0
    for rows, views in ahead(batches, BATCHES_READ_AHEAD):
        found = model.predict_views_on_batch(views, augmentation.flip, canvas)
        sizes = views[0]["original_size"].numpy().astype(int).tolist()
        for row, place in enumerate(rows):
            position = places[place]
            own = {key: value[row] for key, value in found.items()}
            done[position] = _result(model, own, (sizes[row][0], sizes[row][1]), waiting[position])
        while following in done:
            del waiting[following]
            yield done.pop(following)
            following += 1
    for position in sorted(done):  # the last ones could not be read
        yield done[position]


def _result(model: Any, found: dict[str, Any], size: tuple[int, int], source: Any) -> Result:
    """One image's detections; masks are made when somebody asks for them."""
    number = int(found["num_detections"])
    own = {key: found[key][:number] for key in ("boxes", "scores", "labels")}
    masks = None
    if "masks" in found:
        masks = MasksOnDemand(found["masks"][:number], own["boxes"], size, model.image_masks)
    result = Result(**own, masks=masks, class_names=model.class_names, source=source, size=size)
    if "panoptic" not in found:
        return result
    panoptic = found["panoptic"][: size[0], : size[1]]
    return dataclasses.replace(result, panoptic=panoptic, segments=segments_of(found, model.class_names))


def ahead(items: Iterable[T], count: int) -> Iterator[T]:
    """Items of an iterable that a thread reads, ``count`` at most before they are asked for.

    An error of the iterable is raised where its item would have come. The thread ends when the consumer does.
    """
    ready: queue.Queue[tuple[str, Any]] = queue.Queue(count)
    stopped = threading.Event()

    def put(kind: str, value: Any) -> bool:
        while not stopped.is_set():
            try:
                ready.put((kind, value), timeout=0.1)
                return True
            except queue.Full:
                continue
        return False

    def read() -> None:
        try:
            for item in items:
                if not put("item", item):
                    return
            put("end", None)
        except BaseException as error:  # raised again by the consumer
            put("error", error)

    thread = threading.Thread(target=read, daemon=True, name="kdet reads ahead")
    thread.start()
    try:
        while True:
            kind, value = ready.get()
            if kind == "end":
                return
            if kind == "error":
                raise value
            yield value
    finally:
        stopped.set()
        thread.join()
