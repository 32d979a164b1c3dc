"""Detect objects in images and videos.

    kdet predict mask_rcnn_r50_fpn_1x street.jpg photos/ 'more/*.png' --out found/
    kdet predict faster_rcnn_r50_fpn_1x street.mp4 --out found/ --track
    kdet predict rtmdet_s_300e lake/ --out /shared/found --ray workers=8,gpus=1
    kdet predict my_recipe.yaml --weights mine.weights.h5 lake/ --out found/ --no-draw --batch-size 8

Images, folders, patterns, video files, addresses of streams and numbers of cameras. Writes every image or
video with boxes, masks and labels drawn in, and detections.jsonl, a line per image or frame as it goes:
{"image", "height", "width", "detections": [{"label", "class", "score", "box" [x1, y1, x2, y2], "mask" (COCO
RLE, where the model has masks), "track" (--track)}]}, of a frame also "frame" and "time" in seconds. A line
{"image", "error"} stands for what cannot be read, {"image", "frames"} at the end of a video. detections.json
holds the same as one list. A run that was stopped goes on with --resume. Images and --out may be URLs (s3://
...): the lines are sent every minute, and a run that died goes on from those that arrived. With --ray the
images must be where every machine finds them, and detections/ holds Parquet files with a row per image.
"""

import argparse
import collections
import contextlib
import json
import os
import pathlib
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from kdet.cli import common

if TYPE_CHECKING:
    from kdet import storage
    from kdet.detectors import Detector
    from kdet.results import Result
    from kdet.typing import PathLike

HELP = "detect objects in images and videos"
LINES, LIST, PART = "detections.jsonl", "detections.json", "detections.part.jsonl"
PAUSE = 60.0  # seconds after which the lines are sent again


def add_arguments(parser: argparse.ArgumentParser) -> None:
    common.add_recipe(parser)
    common.add_dtype(parser)
    parser.add_argument(
        "images", nargs="+", type=common.path, help="images, folders, patterns, videos, streams, cameras"
    )
    parser.add_argument("--out", required=True, type=common.path, help="folder for the results")
    parser.add_argument("--min-score", type=common.share, default=0.3, help="leave out detections below it")
    parser.add_argument(
        "--batch-size", type=common.whole_number(1, 2**16), default=1, help="images that go through together"
    )
    parser.add_argument(
        "--canvas", choices=["own", "buckets"], default="own", help="buckets: a few static shapes, for XLA"
    )
    common.add_ray(parser)
    parser.add_argument("--no-draw", action="store_true", help="write no images and videos")
    parser.add_argument("--track", action="store_true", help="videos: follow objects (ByteTrack)")
    parser.add_argument("--resume", action="store_true", help="go on with a run that was stopped")


def run(options: argparse.Namespace) -> None:
    from kdet import storage, video
    from kdet.errors import DataError, KdetError
    from kdet.writing import check_target

    check_target(options.out, folder=True, what="set of results")
    videos = [name for name in options.images if video.is_video(name)]
    others = [name for name in options.images if not video.is_video(name)]
    paths = common.find_images(others) if others else []
    if options.ray is not None:
        predict_on_cluster(paths, videos, options)
        return
    if options.track and not videos:
        raise KdetError("--track follows objects through videos; there is none among the images.")
    with contextlib.ExitStack() as stack:
        mirror = stack.enter_context(mirrored(options.out)) if storage.is_url(options.out) else None
        folder = mirror.folder if mirror else pathlib.Path(options.out)
        part = folder / PART
        if part.exists() and not options.resume:
            raise KdetError(
                f"{options.out} holds a run that was stopped: go on with --resume, or delete "
                f"{storage.join(options.out, PART)}."
            )
        for name in videos:  # before a model is built
            video.Frames(name).__exit__()
        _, model = common.load_model(options)
        folder.mkdir(parents=True, exist_ok=True)
        done = finished(part)
        with Lines(part, mirror) as lines:
            failed = predict_images(model, paths, done, lines, options)
            for name in videos:
                if name not in done:
                    predict_video(model, name, lines, options)
        part.replace(folder / LINES)
        write_list(folder)
    if failed:
        raise DataError(
            f"{failed} of {len(paths)} images could not be read; {storage.join(options.out, LINES)} says why."
        )


@contextlib.contextmanager
def mirrored(url: str) -> "Iterator[storage.Mirror]":
    """The folder of this machine that stands for one behind a URL; at the end, whatever it is, it is sent."""
    from kdet import storage

    mirror = storage.Mirror(url)
    try:
        mirror.pull(lambda name: name == PART)
        try:
            yield mirror
        finally:
            mirror.push()
    finally:
        mirror.close()


class Lines:
    """The file of lines while a run goes on; a copy behind a URL follows it. A context manager.

    Args:
        path: of the file, which is continued.
        mirror: where its folder stands for one behind a URL.
    """

    def __init__(self, path: pathlib.Path, mirror: "storage.Mirror | None" = None) -> None:
        self._file, self._mirror = open(path, "a", encoding="utf-8"), mirror
        self._due = time.monotonic() + PAUSE

    def write(self, entry: dict[str, Any]) -> None:
        """Append an entry, at once on disk for whoever follows the file."""
        self._file.write(json.dumps(entry) + "\n")
        self._file.flush()
        start = time.monotonic()
        if self._mirror is not None and start >= self._due:
            self._mirror.push()
            now = time.monotonic()  # the whole file is sent: of a long one seldom
            self._due = now + max(PAUSE, 20 * (now - start))

    def __enter__(self) -> "Lines":
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()


def predict_on_cluster(paths: "list[PathLike]", videos: list[str], options: argparse.Namespace) -> None:
    """Write the detections of images as Parquet, made by the workers of Ray."""
    from kdet import storage
    from kdet.cluster import Workers, predict_paths
    from kdet.errors import DataError, KdetError

    if videos or options.track:
        raise KdetError("--ray takes images alone; videos go without it.")
    target = storage.join(options.out, "detections")
    _, model = common.load_model(options)
    count, failed = predict_paths(
        [str(path if storage.is_url(path) else os.path.abspath(path)) for path in paths],
        model,
        target,
        workers=Workers.parse(options.ray),
        min_score=options.min_score,
        batch_size=options.batch_size,
    )
    print(f"{count} images -> {target}")
    if failed:
        raise DataError(f"{failed} of {count} images could not be read; the column 'error' says why.")


def finished(part: pathlib.Path) -> set[str]:
    """Return the images that a stopped run has; cut off half a line, and videos that were not through."""
    if not part.exists():
        return set()
    whole: list[tuple[str, str]] = []
    ended = set()
    for line in part.read_text(encoding="utf-8").splitlines(keepends=True):
        try:
            entry = json.loads(line) if line.endswith("\n") else None
        except ValueError:
            entry = None
        if not isinstance(entry, dict) or "image" not in entry:
            break
        whole.append((entry["image"], line))
        if "frame" not in entry:
            ended.add(entry["image"])
    part.write_text("".join(line for name, line in whole if name in ended), encoding="utf-8")
    return ended


def predict_images(
    model: "Detector", paths: "list[PathLike]", done: set[str], lines: Lines, options: argparse.Namespace
) -> int:
    """Write the lines and drawings of all images that are not done; return how many could not be read."""
    pairs = zip(paths, targets(paths, options.out), strict=True)
    left = [(path, target) for path, target in pairs if str(path) not in done]
    failed = 0
    results = model.predict_iter(
        [str(path) for path, _ in left],
        batch_size=options.batch_size,
        canvas=options.canvas,
        on_corrupt="report",
    )
    with common.progress_bar(len(left)) as bar:
        for (path, target), result in zip(left, results, strict=True):
            if result.error is not None:
                failed += 1
                lines.write({"image": str(path), "error": result.error})
                bar.write(result.error)
            else:
                shown = result.above(options.min_score)
                lines.write({"image": str(path), **describe(shown)})
                if not options.no_draw:
                    result.save(target, options.min_score)
                bar.write(f"{path}: {len(shown)} objects" + ("" if options.no_draw else f" -> {target}"))
            bar.update()
    return failed


def predict_video(model: "Detector", name: str, lines: Lines, options: argparse.Namespace) -> None:
    """Write the lines of all frames of a video, and the video with what was found drawn in."""
    from kdet import storage, video
    from kdet.writing import whole

    counts: collections.Counter[str] = collections.Counter()
    with contextlib.ExitStack() as stack:
        frames = stack.enter_context(video.Frames(name))
        bar = stack.enter_context(common.progress_bar(frames.count or 0, "frame"))
        stem = f"camera{name}" if name.isdigit() else storage.stem(name) or "stream"
        target = storage.join(options.out, f"{stem}.mp4")
        drawn = None if options.no_draw else stack.enter_context(whole(target))
        writer = None if drawn is None else stack.enter_context(video.Writer(drawn, frames.rate))
        tracker = video.Tracker(frames.rate, max(options.min_score, 0.1)) if options.track else None
        results = model.predict_iter(frames, batch_size=options.batch_size, canvas=options.canvas)
        number = -1
        for number, result in enumerate(stack.enter_context(contextlib.closing(results))):
            result = tracker.follow(result) if tracker else result
            shown = result.above(options.min_score)
            counts.update(shown.names)
            entry = {"image": name, "frame": number, "time": round(number / frames.rate, 3)}
            lines.write({**entry, **describe(shown)})
            if writer is not None:
                writer.write(shown.plot(0.0))
            bar.update()
        lines.write({"image": name, "frames": number + 1})
        bar.write(
            f"{name}: {number + 1} frames, {counts.total()} objects" + (f" -> {target}" if writer else "")
        )


def targets(paths: "list[PathLike]", out: "PathLike") -> "list[PathLike]":
    """Return where each drawn image goes; images of one name get a number."""
    from kdet import storage

    chosen: dict[str, PathLike] = {}
    for number, path in enumerate(paths):
        stem = storage.stem(path)
        name = f"{stem}.png"
        while name in chosen:
            name, number = f"{stem}_{number}.png", number + 1
        chosen[name] = storage.join(out, name)
    return list(chosen.values())


def describe(result: "Result") -> dict[str, Any]:
    """Return size and detections of one image for the JSON."""
    from kdet.evaluation.results import encode_mask

    detections = []
    for i, (label, name) in enumerate(zip(result.labels.tolist(), result.names, strict=True)):
        detection = {"label": label, "class": name, "score": float(result.scores[i])}
        detection["box"] = [float(value) for value in result.boxes[i]]
        if result.masks is not None:
            detection["mask"] = encode_mask(result.masks[i])
        if result.tracks is not None:
            detection["track"] = int(result.tracks[i])
        detections.append(detection)
    height, width = result.size or (None, None)
    return {"height": height, "width": width, "detections": detections}


def write_list(out: pathlib.Path) -> None:
    """Write the lines as one JSON list, holding one at a time."""
    with open(out / LINES, encoding="utf-8") as lines, open(out / LIST, "w", encoding="utf-8") as target:
        target.write("[")
        for number, line in enumerate(lines):
            target.write(("," if number else "") + "\n" + line.rstrip("\n"))
        target.write("\n]\n")
