"""The command kdet: its commands, its exit codes, and that it keeps quiet."""

import json
import os
import pathlib
import subprocess
import sys

import pytest
import tensorflow as tf

import kdet
from kdet import cli
from kdet.cli import common
from kdet.cli import predict as predict_command
from kdet.errors import Stopped

ROOT = pathlib.Path(__file__).resolve().parents[2]
THIN = ["--weights", "none", "--set", "model.num_classes=3", "model.neck.out_channels=32"]
THIN += ["model.bbox_head.filters=32", "model.bbox_head.stacked_convs=1", "model.preprocessor.size=[96,64]"]


def test_every_command_explains_itself(capsys):
    for name in cli.COMMANDS:
        with pytest.raises(SystemExit) as stopped:
            cli.main([name, "--help"])
        assert stopped.value.code == 0
        text = capsys.readouterr().out
        assert f"usage: kdet {name}" in text and "--debug" in text


def test_a_process_says_only_what_it_was_asked():
    """In a process of its own: compiled code writes past Python's standard error."""
    environment = {k: v for k, v in os.environ.items() if k != "TF_CPP_MIN_LOG_LEVEL"}
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys; from kdet.cli import main; sys.exit(main(sys.argv[1:]))",
            "doctor",
        ],
        env={**environment, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[0].startswith("python ") and f"kdet {kdet.__version__}" in done.stdout
    assert any(line.startswith("compiled ops ") for line in lines) and lines[-1].startswith("cache ")


def test_the_zoo_is_listed_and_told(capsys):
    assert cli.main(["zoo", "list", "mask_rcnn_r50_fpn_?x"]) == 0
    listed = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in listed] == ["mask_rcnn_r50_fpn_1x", "mask_rcnn_r50_fpn_2x"]
    assert "38.2" in listed[0] and "34.7" in listed[0]
    assert cli.main(["zoo", "info", "mask_rcnn_r50_fpn_1x"]) == 0
    assert "TwoStageDetector" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["zoo", "info", "mask_rcnn_r5_fpn_1x"], "no recipe named 'mask_rcnn_r5_fpn_1x'"),
        (["zoo", "list", "nothing*"], "No recipe matches 'nothing*'"),
        (["zoo", "list", "--task", "panoptic", "--min-ap", "99"], "matches task 'panoptic', AP from 99.0"),
        (["predict", "ssd300", "nowhere.jpg", "--out", "x"], "There is no image or folder nowhere.jpg"),
        (["browse"], "give either a recipe, --annotations or --data"),
        (["convert", "a.weights.h5", "--recipe", "ssd300"], "--out FILE.pth says where"),
        (["train", "ssd300", "--work-dir", "x", "--set", "train.epoch=3"], "Did you mean 'epochs'?"),
    ],
)
def test_wrong_input_is_one_line_and_code_2(capsys, arguments, message):
    assert cli.main(arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"kdet {arguments[0]}: ") and message in error and error.count("\n") == 1
    with pytest.raises(Exception, match="."):
        cli.main([*arguments, "--debug"])


def test_an_interrupt_is_one_line(monkeypatch, capsys):
    def interrupted(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(kdet.zoo, "list", interrupted)
    assert cli.main(["zoo", "list"]) == 130
    assert capsys.readouterr().err == "kdet zoo: interrupted\n"


def test_a_reader_that_has_seen_enough_is_no_error():
    command = f'{sys.executable} -c \'from kdet import cli; exit(cli.main(["zoo", "list"]))\' | head -1'
    done = subprocess.run(command, shell=True, capture_output=True, text=True, timeout=120)
    assert done.stdout.count("\n") == 1 and "roken pipe" not in done.stderr


@pytest.mark.parametrize(("name", "code"), [("SIGINT", 130), ("SIGTERM", 75), ("SIGUSR1", 75)])
def test_a_signal_has_its_exit_code(monkeypatch, capsys, name, code):
    def ended(*arguments, **options):
        raise Stopped("ended at step 3", name)

    monkeypatch.setattr(kdet.zoo, "list", ended)
    assert cli.main(["zoo", "list"]) == code
    assert capsys.readouterr().err == "kdet zoo: ended at step 3\n"


def test_predict_draws_and_tells(tmp_path, capsys):
    for name in ("a/x.png", "b/x.png"):
        path = tmp_path / name
        path.parent.mkdir()
        path.write_bytes(tf.io.encode_png(tf.zeros([40, 60, 3], tf.uint8)).numpy())
    (tmp_path / "a" / "notes.txt").write_text("no image")
    out = tmp_path / "found"
    given = [str(tmp_path / "a"), str(tmp_path / "b" / "x.png"), "--out", str(out), "--min-score", "0"]
    assert cli.main(["predict", "retinanet_r18_fpn_1x", *given, *THIN]) == 0
    entries = json.loads((out / "detections.json").read_text())
    assert [entry["image"] for entry in entries] == [str(tmp_path / "a/x.png"), str(tmp_path / "b/x.png")]
    assert [(entry["height"], entry["width"]) for entry in entries] == [(40, 60)] * 2
    assert sorted(path.name for path in out.glob("*.png")) == ["x.png", "x_1.png"]


def test_predict_goes_on_after_a_stop_and_past_images_that_cannot_be_read(tmp_path, capsys):
    for name in ("a.png", "c.png"):
        (tmp_path / name).write_bytes(tf.io.encode_png(tf.zeros([40, 60, 3], tf.uint8)).numpy())
    (tmp_path / "b.png").write_bytes(b"no image")
    out = tmp_path / "found"
    out.mkdir()
    names = [str(tmp_path / name) for name in ("a.png", "b.png", "c.png")]
    done = {"image": names[0], "height": 1, "width": 2, "detections": []}
    (out / "detections.part.jsonl").write_text(json.dumps(done) + '\n{"image": "cut o')
    given = [
        "predict",
        "retinanet_r18_fpn_1x",
        str(tmp_path / "*.png"),
        "--out",
        str(out),
        "--no-draw",
        *THIN,
    ]
    assert cli.main(given) == 2
    assert "go on with --resume, or delete" in capsys.readouterr().err
    assert cli.main([*given[: -len(THIN)], "--resume", *THIN]) == 2
    assert "1 of 3 images could not be read" in capsys.readouterr().err
    entries = [json.loads(line) for line in (out / "detections.jsonl").read_text().splitlines()]
    assert [entry["image"] for entry in entries] == names and entries[0] == done
    assert "b.png" in entries[1]["error"] and entries[2]["width"] == 60
    assert json.loads((out / "detections.json").read_text()) == entries
    assert sorted(path.name for path in out.iterdir()) == ["detections.json", "detections.jsonl"]


def test_images_are_found_in_folders(tmp_path):
    for name in ("b.JPG", "a.png", "c.txt"):
        (tmp_path / name).touch()
    assert [path.name for path in common.find_images([str(tmp_path)])] == ["a.png", "b.JPG"]
    with pytest.raises(ValueError, match="There are no images"):
        common.find_images([str(tmp_path / "c.txt")][:0])
    targets = predict_command.targets([pathlib.Path("p/a.png"), pathlib.Path("q/a.jpg")], tmp_path)
    assert [path.name for path in targets] == ["a.png", "a_1.png"]
    clash = [pathlib.Path(name) for name in ("p/a_1.png", "p/a.png", "q/a.png", "r/a.jpg")]
    names = [path.name for path in predict_command.targets(clash, tmp_path)]
    assert names == ["a_1.png", "a.png", "a_2.png", "a_3.png"]
