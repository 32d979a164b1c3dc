"""Videos: frames in and out, objects that are followed, and the command on a video."""

import json

import numpy as np
import pytest

from kdet import cli, video
from kdet.errors import DataError, KdetError, MissingFile
from kdet.results import Result

SMALL = ["--weights", "none", "--set", "model.num_classes=3", "model.neck.out_channels=16"]
SMALL += ["model.bbox_head.filters=16", "model.bbox_head.stacked_convs=1", "model.preprocessor.size=[96, 64]"]


@pytest.mark.parametrize(
    "name, expected",
    [
        ("street.MP4", True),
        ("0", True),
        ("rtsp://camera/1", True),
        ("http://host/live", True),
        ("http://host/a.jpg?size=1", False),
        ("photos", False),
        ("a.png", False),
    ],
)
def test_what_is_a_video(name, expected):
    assert video.is_video(name) is expected


@pytest.fixture
def moving(tmp_path):
    """A bright square that goes to the right, ten frames."""
    pytest.importorskip("cv2", reason="OpenCV is not installed")
    frames = np.full([10, 64, 96, 3], 30, np.uint8)
    for i, frame in enumerate(frames):
        frame[20:40, 5 + 6 * i : 25 + 6 * i] = (250, 120, 10)
    path = tmp_path / "moving.avi"
    with video.Writer(path, 5) as writer:
        for frame in frames:
            writer.write(frame)
    return path, frames


def test_frames_come_back_as_they_were_written(moving):
    path, frames = moving
    with video.Frames(path) as read:
        assert read.rate == 5 and read.count == 10
        found = list(read)
    assert len(found) == 10
    assert np.abs(np.stack(found).astype(int) - frames).mean() < 3  # JPEG


def test_what_is_no_video_is_refused(moving, tmp_path):
    path, frames = moving
    with pytest.raises(MissingFile, match="There is no video"):
        video.Frames(tmp_path / "none.mp4")
    (tmp_path / "text.mp4").write_text("no video")
    with pytest.raises(DataError, match="cannot be opened as a video"):
        video.Frames(tmp_path / "text.mp4")
    with pytest.raises(KdetError, match="must end in .mp4"):
        video.Writer(tmp_path / "x.gif", 5)
    with pytest.raises(KdetError, match="a frame of"), video.Writer(tmp_path / "x.avi", 5) as writer:
        writer.write(frames[0])
        writer.write(frames[0][:32])


def boxes_result(boxes, scores):
    boxes = np.array(boxes, np.float32).reshape(-1, 4)
    return Result(boxes, np.array(scores, np.float32), np.zeros(len(boxes), np.int32))


def test_objects_keep_their_number():
    pytest.importorskip("trackers", reason="the library trackers is not installed")
    tracker = video.Tracker(rate=10)
    numbers = []
    for i in range(8):  # two objects that move, in an order that changes, and one weak detection
        first, second = [10 + 4 * i, 10, 40 + 4 * i, 50], [200 - 3 * i, 80, 240 - 3 * i, 120]
        order = [first, second] if i % 2 else [second, first]
        found = tracker.follow(boxes_result([*order, [300, 300, 310, 310]], [0.9, 0.8, 0.1]))
        # which of the two objects (by its upper edge) has which number
        numbers.append({box[1]: int(n) for box, n in zip(found.boxes.tolist(), found.tracks, strict=True)})
    assert set(numbers[3]) == {10.0, 80.0} and len({*numbers[3].values()}) == 2
    assert numbers[3:] == [numbers[3]] * 5
    assert len(tracker.follow(boxes_result([], []))) == 0


def test_the_command_writes_a_video_and_a_line_per_frame(moving, tmp_path):
    pytest.importorskip("trackers", reason="the library trackers is not installed")
    path, _ = moving
    out = tmp_path / "found"
    given = ["retinanet_r18_fpn_1x", str(path), "--out", str(out), "--min-score", "0", "--track"]
    assert cli.main(["predict", *given, *SMALL]) == 0
    lines = [json.loads(line) for line in (out / "detections.jsonl").read_text().splitlines()]
    assert [line.get("frame") for line in lines] == [*range(10), None] and lines[-1]["frames"] == 10
    assert lines[5]["time"] == 1.0 and (lines[5]["height"], lines[5]["width"]) == (64, 96)
    assert all("track" in one for line in lines[:-1] for one in line["detections"])
    with video.Frames(out / "moving.mp4") as written:
        assert len(list(written)) == 10


def test_tracking_wants_a_video(tmp_path, capsys):
    (tmp_path / "a.png").touch()
    assert cli.main(["predict", "ssd300", str(tmp_path / "a.png"), "--out", "x", "--track"]) == 2
    assert "--track follows objects through videos" in capsys.readouterr().err
