"""Videos, streams and cameras as frames, frames as a video, objects followed from frame to frame.

Needs OpenCV, and for tracking the library ``trackers``: ``pip install 'kdet[video]'``.

>>> with kdet.video.Frames("street.mp4") as frames, kdet.video.Writer("found.mp4", frames.rate) as writer:
...     tracker = kdet.video.Tracker(frames.rate)
...     for result in model.predict_iter(frames):
...         writer.write(tracker.follow(result).plot())
"""

import pathlib
from collections.abc import Iterator
from typing import Any

import numpy as np

from kdet import storage
from kdet.errors import DataError, KdetError, MissingFile, WriteError
from kdet.results import Result
from kdet.typing import Array, PathLike

SUFFIXES = (".mp4", ".mov", ".avi", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg")
STREAMS = ("rtsp://", "rtmp://", "udp://", "http://", "https://")
# codes of the formats that OpenCV's own builds can write
_CODECS = {".mp4": "mp4v", ".mov": "mp4v", ".m4v": "mp4v", ".avi": "MJPG", ".mkv": "mp4v"}


def is_video(name: str) -> bool:
    """Whether a name means a video file, the address of a stream, or the number of a camera."""
    ending = pathlib.PurePath(name.partition("?")[0]).suffix.lower()
    is_stream = name.startswith(STREAMS) and ending not in (".jpg", ".jpeg", ".png", ".bmp", ".gif")
    return name.isdigit() or is_stream or ending in SUFFIXES


class Frames:
    """The frames of a video, one after the other: uint8 RGB ``[h,w,3]``. A context manager.

    Args:
        source: a video file, the URL of one (``kdet.storage``), the address of a stream (``rtsp://...``), or
            the number of a camera.

    Attributes:
        rate: frames per second as the source says, 30 where it does not.
        count: frames of a file as it says, None for a stream.

    Raises:
        MissingFile: there is no such file.
        DataError: it cannot be opened as a video.
        KdetError: OpenCV is not installed.
    """

    def __init__(self, source: PathLike) -> None:
        cv2 = _opencv()
        self.source = str(source)
        is_file = not (self.source.isdigit() or self.source.startswith(STREAMS))
        opened = self.source
        if is_file and storage.is_url(opened):
            opened = str(storage.local(opened))
        if is_file and not pathlib.Path(opened).is_file():
            raise MissingFile(f"There is no video {self.source}.")
        self._capture = cv2.VideoCapture(int(opened) if opened.isdigit() else opened)
        if not self._capture.isOpened():
            raise DataError(f"{self.source} cannot be opened as a video: damaged, or of a kind OpenCV lacks.")
        rate = self._capture.get(cv2.CAP_PROP_FPS)
        count = int(self._capture.get(cv2.CAP_PROP_FRAME_COUNT))
        self.rate = float(rate) if 0 < rate < 1000 else 30.0
        self.count = count if is_file and count > 0 else None

    def __iter__(self) -> Iterator[Array]:
        read = 0
        while True:
            found, frame = self._capture.read()
            if not found:
                break
            read += 1
            yield np.ascontiguousarray(frame[..., ::-1])
        if read == 0:
            raise DataError(f"The video {self.source} has no frame that can be read.")

    def __enter__(self) -> "Frames":
        return self

    def __exit__(self, *error: object) -> None:
        self._capture.release()


class Writer:
    """Writes frames as a video. A context manager; the size is that of the first frame.

    Args:
        path: the file; its ending chooses the format (.mp4, .mov, .avi, .mkv).
        rate: frames per second.

    Raises:
        KdetError: another ending, or OpenCV is not installed.
        WriteError: the file cannot be written.
    """

    def __init__(self, path: PathLike, rate: float) -> None:
        self.path, self.rate = pathlib.Path(path), rate
        if self.path.suffix.lower() not in _CODECS:
            raise KdetError(f"{self.path} must end in {', '.join(_CODECS)}.")
        self._cv2, self._size = _opencv(), (0, 0)
        self._writer: Any = None

    def write(self, frame: Array) -> None:
        """Append a frame, uint8 RGB ``[h,w,3]``."""
        if self._writer is None:
            self._size = frame.shape[1], frame.shape[0]
            code = self._cv2.VideoWriter_fourcc(*_CODECS[self.path.suffix.lower()])
            self._writer = self._cv2.VideoWriter(str(self.path), code, self.rate, self._size)
            if not self._writer.isOpened():
                raise WriteError(f"{self.path} cannot be written as a video of {self._size} pixels.")
        if frame.shape[1::-1] != self._size:
            raise KdetError(
                f"{self.path}: a frame of {frame.shape[1::-1]} in a video of {self._size} pixels."
            )
        self._writer.write(np.ascontiguousarray(frame[..., ::-1]))

    def __enter__(self) -> "Writer":
        return self

    def __exit__(self, *error: object) -> None:
        if self._writer is not None:
            self._writer.release()


class Tracker:
    """Follows objects through the frames of a video, by ByteTrack (https://arxiv.org/abs/2110.06864).

    Args:
        rate: frames per second.
        min_score: detections of at least this score can begin a track; weaker ones can continue it.

    Raises:
        KdetError: the library ``trackers`` is not installed.
    """

    def __init__(self, rate: float = 30.0, min_score: float = 0.5) -> None:
        try:
            from trackers import ByteTrackTracker
        except ImportError as error:
            raise KdetError("Tracking needs the library trackers: pip install 'kdet[video]'.") from error
        self._tracker: Any = ByteTrackTracker(
            frame_rate=rate, track_activation_threshold=min_score, high_conf_det_threshold=min_score
        )

    def follow(self, result: Result) -> Result:
        """The detections of the next frame that belong to a track, with its number in ``tracks``."""
        import supervision

        given = supervision.Detections(
            xyxy=result.boxes.astype(np.float32),
            confidence=result.scores,
            class_id=result.labels.astype(int),
            data={"row": np.arange(len(result))},
        )
        found = self._tracker.update(given)
        numbers = np.full(len(found), -1) if found.tracker_id is None else found.tracker_id.astype(int)
        known = numbers >= 0
        rows = found.data["row"][known] if len(found) else np.zeros([0], int)
        order = np.argsort(rows, kind="stable")  # best first, as they were
        return result.where(rows[order]).with_tracks(numbers[known][order])


def _opencv() -> Any:
    try:
        import cv2
    except ImportError as error:
        raise KdetError("Video needs OpenCV: pip install 'kdet[video]'.") from error
    return cv2
