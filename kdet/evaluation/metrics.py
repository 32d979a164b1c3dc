"""The metrics by the names that ``data.metrics`` of a recipe gives them (``kdet.schema.METRICS``)."""

import dataclasses
from collections.abc import Callable

from kdet.data.cityscapes import CLASSES
from kdet.data.index import DatasetIndex
from kdet.evaluation.cityscapes import cityscapes_metrics
from kdet.evaluation.coco import coco_metrics
from kdet.evaluation.lvis import lvis_metrics, require_lvis
from kdet.evaluation.voc import voc_metrics
from kdet.evaluation.wider_face import read_difficulty_lists, wider_face_metrics
from kdet.schema import METRICS, suggest


@dataclasses.dataclass(frozen=True)
class Scene:
    """What detections are scored against.

    Attributes:
        index: the data set.
        truth: its COCO dict.
    """

    index: DatasetIndex
    truth: dict


@dataclasses.dataclass(frozen=True)
class Metric:
    """A metric of ``data.metrics``.

    Attributes:
        score: ``(scene, results, image_ids) -> {figure: value}``; results as COCO result dicts.
        check: called with the scene before anything is predicted; raises ValueError when the data cannot be
            scored so.
        masks: whether the detections need masks.
    """

    score: Callable[[Scene, list[dict], set], dict[str, float]]
    check: Callable[[Scene], None] = lambda scene: None
    masks: bool = False


def _with_masks(name, score, check=lambda scene: None):
    """A metric of masks, which every object of the ground truth must have."""

    def check_masks(scene):
        check(scene)
        for annotation in scene.truth["annotations"]:
            if not annotation.get("segmentation"):
                raise ValueError(
                    f"The metric {name!r} needs masks, but annotation {annotation.get('id')} of image "
                    f"{annotation['image_id']} in {scene.index.name} has no 'segmentation'. Score boxes "
                    "(bbox), or complete the annotations."
                )

    return Metric(score, check_masks, masks=True)


def _of_coco(kind):
    def score(scene, results, image_ids):
        categories = scene.index.category_ids
        return coco_metrics(scene.truth, results, kind, image_ids=image_ids, category_ids=categories)

    return _with_masks("segm", score) if kind == "segm" else Metric(score)


def _of_voc(rule, pixel_inclusive=True):
    def score(scene, results, image_ids):
        return voc_metrics(
            scene.truth, results, rule=rule, image_ids=image_ids, pixel_inclusive=pixel_inclusive
        )

    return Metric(score)


def _of_lvis(kind):
    def score(scene, results, image_ids):
        return lvis_metrics(scene.truth, results, kind, image_ids=image_ids)

    def check(scene):
        require_lvis(scene.truth, scene.index.name)

    return _with_masks("lvis_segm", score, check) if kind == "segm" else Metric(score, check)


def _score_cityscapes(scene, results, image_ids):
    classes = {name: CLASSES[name] for name in scene.index.class_names}
    return cityscapes_metrics(scene.index.instance_maps, results, image_ids, classes)


def _check_cityscapes(scene):
    if not scene.index.instance_maps:
        raise ValueError(
            f"The metric 'cityscapes' needs the instance maps of gtFine: read {scene.index.name} with "
            "data.val.format: cityscapes."
        )


def _score_wider_face(scene, results, image_ids):
    names = {r.image_id: r.name for r in scene.index.records if r.image_id in image_ids}
    return wider_face_metrics(read_difficulty_lists(scene.index.difficulty_lists), results, names)


def _check_wider_face(scene):
    if not scene.index.difficulty_lists:
        raise ValueError(
            "The metric 'wider_face' needs data.val.difficulty_lists, the folder of the benchmark's lists of "
            "easy, medium and hard faces (eval_tools/ground_truth)."
        )
    read_difficulty_lists(scene.index.difficulty_lists)


TABLE = {
    "bbox": _of_coco("bbox"),
    "segm": _of_coco("segm"),
    "proposal": _of_coco("proposal"),
    "voc07": _of_voc("07"),
    "voc12": _of_voc("12"),
    "voc12_exclusive": _of_voc("12", pixel_inclusive=False),
    "lvis_bbox": _of_lvis("bbox"),
    "lvis_segm": _of_lvis("segm"),
    "cityscapes": Metric(_score_cityscapes, _check_cityscapes, masks=True),
    "wider_face": Metric(_score_wider_face, _check_wider_face),
}


def find(name: str) -> Metric:
    """The metric of a name.

    Raises:
        ValueError: there is none; the message has the nearest name.
    """
    if name not in TABLE:
        raise ValueError(f"Unknown metric {name!r} (data.metrics). {suggest(name, METRICS)}")
    return TABLE[name]
