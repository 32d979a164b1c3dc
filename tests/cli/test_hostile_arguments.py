"""Whatever a command is given, it ends with exit code 2 and one line that names it: no stack, nothing made.

``BASES`` is one valid call of every command; every case replaces one of its arguments by what cannot be used.
"""

import json
import os
import shutil

import pytest

from kdet import cli

RECIPE = "retinanet_r18_fpn_1x"
DATA = ["data.classes=null", "data.val.annotations=coco.json", "data.val.images=.", "model.num_classes=2"]
# whose images are missing: nothing is trained
UNREADY = ["data.classes=null", "data.train.annotations=coco.json", "data.train.images=nowhere"]
BASES = {
    "train": {"recipe": RECIPE, "--work-dir": "run", "--strategy": "one", "--set": UNREADY},
    "test": {
        "recipe": RECIPE,
        "--weights": "none",
        "--metric": "bbox",
        "--split": "val",
        "--batch-size": "1",
        "--out": "found.json",
        "--figures": "figures.json",
        "--set": DATA,
    },
    "predict": {
        "recipe": RECIPE,
        "images": "a.jpg",
        "--weights": "none",
        "--out": "found",
        "--min-score": "0.3",
        "--batch-size": "1",
        "--canvas": "own",
        "--dtype": "float32",
    },
    "export": {
        "recipe": RECIPE,
        "--weights": "none",
        "--out": "model",
        "--format": "saved_model",
        "--input": "64x64",
        "--batch": "1",
        "--dtype": "float32",
        "--ops": "portable",
        "--box-format": "xyxy",
        "--label-offset": "1",
        "--masks": "box",
    },
    "convert": {"weights": "zip.pth", "--recipe": RECIPE, "--out": "a.weights.h5", "--num-classes": "3"},
    "dataset": {
        "action": "convert",
        "source": "coco.json",
        "target": "a.jpg/new",
        "--from": "coco",
        "--to": "coco",
        "--images": ".",
        "--on-missing": "error",
        "--on-corrupt": "error",
        "--shards": "1",
        "--seed": "0",
    },
    "analyze": {
        "recipe": RECIPE,
        "--weights": "none",
        "--results": "coco.json",
        "--min-score": "0.3",
        "--batch-size": "1",
        "--out": "report",
        "--set": DATA,
    },
    "anchors": {"recipe": RECIPE, "--seed": "0", "--rounds": "1", "--out": "a.yaml"},
    "browse": {
        "--annotations": "coco.json",
        "--images": ".",
        "--format": "coco",
        "--split": "train",
        "--count": "1",
        "--columns": "1",
        "--seed": "0",
        "--out": "sheet.png",
    },
    "zoo": {"action": "info", "name": RECIPE},
    "serve-config": {
        "models": "models",
        "--out": "served",
        "--max-batch-size": "8",
        "--batch-timeout": "5",
        "--threads": "1",
        "--grpc-port": "8500",
        "--rest-port": "8501",
    },
    "demo": {"models": RECIPE, "--weights": "none", "--port": "7860"},
    "doctor": {},
}
WORDS = (
    "recipe",
    "--recipe",
    "--strategy",
    "--metric",
    "--split",
    "--canvas",
    "--dtype",
    "--format",
    "--ops",
)
WORDS += (
    "--from",
    "--to",
    "--on-corrupt",
    "--box-format",
    "--masks",
    "--classes",
    "--on-missing",
    "action",
    "name",
)
NUMBERS = ("--batch-size", "--min-score", "--batch", "--label-offset", "--num-classes", "--shards", "--count")
NUMBERS += ("--columns", "--seed", "--input", "--max-batch-size", "--batch-timeout", "--threads", "--port")
NUMBERS += ("--rounds",)
NUMBERS += ("--grpc-port", "--rest-port")
READ = {"recipe": ".yaml", "--recipe": ".yaml", "weights": ".pth", "--weights": ".pth", "images": ".jpg"}
READ.update(
    {"--results": ".json", "--annotations": ".json", "name": ".yaml", "models": ".yaml", "source": ".json"}
)
WRITTEN = {"--work-dir": "", "--out": "", "--figures": ".json"}

FILES = (
    "missing",
    "folder",
    "empty",
    "binary",
    "page",
    "pipe",
    "loop",
    "donn\u00e9es \u0451",
    "a.jpg/x",
    "\udcff",
)
VALUES = ("nan", "inf", "-inf", "1.5", "1e400", "9" * 30, "x", "", "\u0663\u00bd")
POSITIVE = ("--batch-size", "--batch", "--num-classes", "--shards", "--count", "--columns", "--input")
POSITIVE += ("--max-batch-size", "--threads", "--grpc-port", "--rest-port")
SETTINGS = (
    "", "=", "train", "=3", "a=b", "train.epochs", "train=1", "train=null", "data=null", "model=null",
    "train.epochs=-1", "train.epochs=nan", "train.epochs=1e400", "train.epochs=[", "train.epochs=x",
    "train.batch_size=0", "train.optimizer.learning_rate=nan", "train.seed=-1", "model.type=Nothing",
    "model.num_classes=0", "model.num_classes=-1", "model.num_classes=true",
    "data.SPLIT.annotations=folder.json", "data.SPLIT.images=missing", "imports=[missing.py]", "\u0451=1",
    "imports=[folder.yaml]", "data.SPLIT.type=CsvReader", "data.SPLIT.transforms=[{type: Resise}]", "a..b=1",
)  # fmt: skip


# what shows when the model is built, which is after the data are read
OF_THE_MODEL = (
    "model.backbone=3", "model.backbone.depth=7", "model.preprocessor.std=[0,0,0]",
    "model.preprocessor.size=[-1,5]",
)  # fmt: skip


def cases():
    """``(command, key, value)``."""
    for command, base in BASES.items():
        for key in base:
            if key in READ:
                yield from ((command, key, name + READ[key]) for name in FILES)
                yield from ((command, key, name) for name in ("", " ", "x" * 5000))
            if key in WRITTEN:
                yield from ((command, key, f"{name}{WRITTEN[key]}") for name in ("a.jpg/x", "\0"))
                yield command, key, ""
            if key in WORDS:
                yield from ((command, key, word) for word in ("nothing", "-1", "\u0451"))
            if key in NUMBERS:
                yield from ((command, key, value) for value in VALUES)
            if key in POSITIVE:
                yield from ((command, key, value) for value in ("0", "-3"))
        if "--set" in base and command in ("train", "test"):
            split = "train" if command == "train" else "val"
            settings = SETTINGS + (OF_THE_MODEL if command == "test" else ())
            yield from ((command, "--set", value.replace("SPLIT", split)) for value in settings)
        yield command, "--nothing", "1"


# arguments that these values are no fault of, or that are not looked at
FINE = {("test", "--set", "train=null"), ("serve-config", "--batch-timeout", "1.5")}


@pytest.fixture(scope="module")
def folder(tmp_path_factory, request):
    """A folder with valid files, and with hostile ones of every ending."""
    made = tmp_path_factory.mktemp("hostile")
    assets = request.path.parents[1] / "assets"
    for name in ("a.jpg", "b.png", "c.jpg", "coco.json"):
        shutil.copy(assets / "data" / name, made)
    shutil.copy(assets / "checkpoints" / "zip.pth", made)
    for ending in (".json", ".yaml", ".pth", ".jpg"):
        (made / f"folder{ending}").mkdir()
        (made / f"empty{ending}").touch()
        (made / f"binary{ending}").write_bytes(bytes(range(128, 256)) * 9)
        (made / f"page{ending}").write_text("<!DOCTYPE html><html><body>404 not found</body></html>")
        os.mkfifo(made / f"pipe{ending}")
        os.symlink(f"loop{ending}", made / f"loop{ending}")
    return made


def arguments(command, base):
    given = [command]
    for key, value in base.items():
        given += [key] if key.startswith("--") else []
        given += value if isinstance(value, list) else [value]
    return given


def words_of(key, value):
    """What of an argument may stand in a message about it."""
    plain = value.encode("unicode_escape").decode()
    path, _, given = plain.partition("=")
    words = plain[:20], path, path.rpartition(".")[2], given.strip("[]{}")
    return [key, *filter(None, words)] if value else [key, "''"]


def said(capsys, given):
    """Exit code and what stands on the standard error."""
    try:
        code = cli.main(given)
    except SystemExit as stopped:
        code = stopped.code
    return code, capsys.readouterr().err


@pytest.mark.parametrize("command", BASES)
def test_every_argument_is_answered_in_one_line(command, folder, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    monkeypatch.setenv("KDET_HOME", str(folder / "home"))
    before, wrong = sorted(os.listdir(folder)), []
    for _, key, value in [case for case in cases() if case[0] == command]:
        if (command, key, value) in FINE:
            continue
        base = dict(BASES[command])
        if (command, key) == ("analyze", "--weights"):
            del base["--results"]  # with which no weights are read
        base[key] = [*base["--set"], value] if key == "--set" else value
        code, text = said(capsys, arguments(command, base))
        if code != 2 or text.count("\n") != 1 or not text.startswith("kdet") or len(text) > 1500:
            wrong.append((key, value[:40], code, text[:600]))
        elif not any(word in text.encode("unicode_escape").decode() for word in words_of(key, value)):
            wrong.append((key, value[:40], "is not named", text[:600]))
    assert not wrong, "\n" + "\n".join(map(str, wrong))
    shutil.rmtree("found", ignore_errors=True)  # what predict says of images that are none
    assert sorted(os.listdir(folder)) == before


def test_commands_and_arguments_that_are_missing(capsys):
    assert set(BASES) == set(cli.COMMANDS)
    for given in (
        [],
        ["nothing"],
        ["train"],
        ["predict", RECIPE],
        ["dataset"],
        ["zoo"],
        ["convert", "a.pth"],
    ):
        code, text = said(capsys, given)
        assert code == 2 and text.count("\n") == 1 and text.startswith("kdet"), (given, text)
    code, text = said(capsys, ["zoo", "info"])
    assert code == 2 and "info needs the name of a model" in text


def test_a_resume_without_a_run_and_data_without_images(folder, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    content = json.loads((folder / "coco.json").read_text())
    (folder / "nothing.json").write_text(json.dumps({**content, "images": [], "annotations": []}))
    code, text = said(capsys, ["browse", "--annotations", "nothing.json", "--images", "."])
    (folder / "nothing.json").unlink()
    assert code == 2 and "No image is left to read of nothing.json: 0 images" in text
