"""Open Images' lists of classes, their hierarchy, labels of images, and the boxes of its challenge."""

import csv
import json

import numpy as np
import pytest
from PIL import Image

import kdet
from kdet.data.open_images_classes import read_descriptions, read_hierarchy, read_image_labels
from kdet.errors import DataError, MissingFile
from kdet.evaluation.metrics import OpenImagesAP, Scene

ROWS = [("/m/cat", "Cat", 2), ("/m/animal", "Animal", 1), ("/m/dog", "Dog", 3)]
TREE = {
    "LabelName": "/m/entity",
    "Subcategory": [
        {"LabelName": "/m/animal", "Subcategory": [{"LabelName": "/m/cat"}, {"LabelName": "/m/dog"}]},
        {"LabelName": "/m/pet", "Subcategory": [{"LabelName": "/m/dog"}]},
    ],
}
BLOCKS = """train/one.jpg
80 100
2
2 0.1 0.2 0.5 0.6 0
3 0.0 0.0 1.0 1.0 1
train/two.jpg
80 100
0
"""


@pytest.fixture
def folder(tmp_path):
    with open(tmp_path / "cls-label-description.csv", "w", newline="") as file:
        csv.writer(file).writerows(ROWS)
    (tmp_path / "tree.json").write_text(json.dumps(TREE))
    (tmp_path / "labels.csv").write_text(
        "ImageID,Source,LabelName,Confidence\none,human,/m/dog,0\none,human,/m/car,1\ntwo,human,/m/cat,1\n"
    )
    (tmp_path / "boxes.txt").write_text(BLOCKS)
    (tmp_path / "train").mkdir()
    for name in ("one", "two"):
        Image.new("RGB", (100, 80)).save(tmp_path / "train" / f"{name}.jpg")
    return tmp_path


def descriptions(folder):
    return read_descriptions(folder / "cls-label-description.csv")


def test_descriptions_have_names_and_numbers(folder):
    assert descriptions(folder) == {"/m/cat": ("Cat", 2), "/m/animal": ("Animal", 1), "/m/dog": ("Dog", 3)}


@pytest.mark.parametrize("line", ["/m/cat", "/m/cat,Cat,two", "/m/x,,4", "/m/x,Cat,4", "/m/x,Other,2"])
def test_a_wrong_line_of_descriptions_is_named(folder, line):
    path = folder / "cls-label-description.csv"
    path.write_text("/m/cat,Cat,2\n" + line + "\n")
    with pytest.raises(DataError, match="line 2"):
        read_descriptions(path)


def test_the_tree_gives_all_classes_above(folder):
    above = read_hierarchy(folder / "tree.json", descriptions(folder))
    assert above == {"Animal": set(), "Cat": {"Animal"}, "Dog": {"Animal"}}


def test_the_matrix_gives_the_same(folder):
    matrix = np.zeros((4, 4))
    matrix[1:, 1:] = [[1, 0, 0], [1, 1, 0], [1, 0, 1]]  # in the order of the numbers
    with open(folder / "tree.np", "wb") as file:
        np.save(file, matrix)
    above = read_hierarchy(folder / "tree.np", descriptions(folder))
    assert above == {"Animal": set(), "Cat": {"Animal"}, "Dog": {"Animal"}}


@pytest.mark.parametrize("content", [b"no matrix", None])
def test_a_wrong_matrix_is_named(folder, content):
    with open(folder / "tree.np", "wb") as file:
        np.save(file, np.eye(9)) if content is None else file.write(content)
    with pytest.raises(DataError, match="tree.np"):
        read_hierarchy(folder / "tree.np", descriptions(folder))


@pytest.mark.parametrize("tree", [[1], {"Subcategory": 3}, {"Subcategory": ["x"]}])
def test_a_wrong_tree_is_named(folder, tree):
    (folder / "tree.json").write_text(json.dumps(tree))
    with pytest.raises(DataError, match="tree.json is no hierarchy"):
        read_hierarchy(folder / "tree.json", descriptions(folder))


def test_labels_of_images(folder):
    labels = read_image_labels(folder / "labels.csv", descriptions(folder))
    assert labels == {"one": {"Dog"}, "two": {"Cat"}}


def test_a_challenge_is_read(folder):
    index = kdet.data.read_open_images(folder / "boxes.txt", folder)
    assert index.class_names == ["Cat", "Dog"] and len(index) == 2
    one, two = index.records
    np.testing.assert_allclose(one.boxes, [[10, 16, 50, 48]], rtol=1e-6)
    np.testing.assert_allclose(one.ignore_boxes, [[0, 0, 100, 80]])
    assert len(two.labels) == 0
    objects = kdet.data.read_open_images(folder / "boxes.txt", folder, crowds="objects").records[0]
    assert objects.labels.tolist() == [0, 1] and not len(objects.ignore_boxes)


@pytest.mark.parametrize(
    "text, line",
    [("a.jpg\nx\nmany\n", 3), ("a.jpg\nx\n3\n1 0 0 1 1 0\n", 3), ("a.jpg\nx\n1\n1 0 0 1 1\n", 4)],
)
def test_a_wrong_line_of_a_challenge_is_named(folder, text, line):
    (folder / "boxes.txt").write_text(text)
    with pytest.raises(DataError, match=f"line {line}"):
        kdet.data.read_open_images(folder / "boxes.txt", folder)


def test_a_challenge_needs_its_classes(folder):
    (folder / "cls-label-description.csv").unlink()
    with pytest.raises(MissingFile, match="class_descriptions"):
        kdet.data.read_open_images(folder / "boxes.txt", folder)


def test_the_metric_takes_hierarchy_and_labels(folder):
    index = kdet.data.read_open_images(folder / "boxes.txt", folder, classes=["Animal", "Cat", "Dog"])
    truth = index.to_coco()
    ids = {category["name"]: category["id"] for category in truth["categories"]}
    first = index.records[0].image_id
    cat = {"image_id": first, "category_id": ids["Cat"], "bbox": [10, 16, 40, 32], "score": 0.9}
    dog = {"image_id": first, "category_id": ids["Dog"], "bbox": [50, 50, 9, 9], "score": 0.8}
    metric = OpenImagesAP(
        str(folder / "cls-label-description.csv"), str(folder / "tree.json"), str(folder / "labels.csv")
    )
    scene = Scene(index, truth)
    metric.check(scene)
    figures = metric.score(scene, [cat, dog], {record.image_id for record in index.records})
    # the dog lies in the group; both are animals
    assert figures == {"mAP": 1.0, "AP/Animal": 1.0, "AP/Cat": 1.0, "AP/Dog": 1.0}
    plain = OpenImagesAP().score(scene, [cat, dog], {first})
    assert np.isnan(plain["AP/Animal"]) and plain["mAP"] == 1.0
    with pytest.raises(ValueError, match="need class_descriptions"):
        OpenImagesAP(hierarchy="tree.json")
