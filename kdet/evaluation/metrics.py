"""What detections are scored by: metrics as registered classes, with short names for those of benchmarks."""

import dataclasses
from typing import Any, Literal

from kdet.building import build_part
from kdet.data.cityscapes import CLASSES
from kdet.data.index import DatasetIndex
from kdet.evaluation.cityscapes import cityscapes_metrics
from kdet.evaluation.coco import coco_metrics
from kdet.evaluation.lvis import lvis_metrics, require_lvis
from kdet.evaluation.voc import voc_metrics
from kdet.evaluation.wider_face import read_difficulty_lists, wider_face_metrics
from kdet.ranges import Part
from kdet.registry import Component, register
from kdet.settings import METRICS


@dataclasses.dataclass(frozen=True)
class Scene:
    """What detections are scored against.

    Attributes:
        index: the data set.
        truth: its COCO dict.
    """

    index: DatasetIndex
    truth: dict[str, Any]


Results = list[dict[str, Any]]  # COCO result dicts


class Metric(Component):
    """Scores the detections of a whole data set; derive from it to have a metric of your own.

    Attributes:
        name: stands in front of its figures, ``name/figure``; default: the name of the class, or the short
            name that it was asked for by.
        masks: whether the detections need masks.

    Example:
        >>> @kdet.registry.register
        ... class Count(kdet.evaluation.Metric):
        ...     def score(self, scene, results, image_ids):
        ...         return {"per_image": len(results) / max(len(image_ids), 1)}
    """

    name: str | None = None
    masks = False

    def check(self, scene: Scene) -> None:
        """Called before anything is predicted; raises ValueError when the data cannot be scored so."""

    def score(self, scene: Scene, results: Results, image_ids: set[int]) -> dict[str, float]:
        """The figures by their names; ``results`` as COCO result dicts of the images ``image_ids``."""
        raise NotImplementedError(f"{type(self).__name__} must define score().")


@register
class CocoAP(Metric):
    """COCO's AP of boxes or masks, or average recall of boxes whatever their class ("proposal")."""

    def __init__(self, of: Literal["bbox", "segm", "proposal"] = "bbox") -> None:
        self.of, self.masks = of, of == "segm"

    def check(self, scene: Scene) -> None:
        if self.masks:
            _require_masks("segm", scene)

    def score(self, scene: Scene, results: Results, image_ids: set[int]) -> dict[str, float]:
        categories = scene.index.category_ids
        return coco_metrics(scene.truth, results, self.of, image_ids=image_ids, category_ids=categories)


@register
class VocAP(Metric):
    """Pascal VOC's mAP.

    Args:
        rule: precision at 11 recalls ("07"), or area under the curve ("12").
        pixel_inclusive: + 1 in the sides of boxes.
    """

    def __init__(self, rule: Literal["07", "12"] = "12", pixel_inclusive: bool = True) -> None:
        self.rule, self.pixel_inclusive = rule, pixel_inclusive

    def score(self, scene: Scene, results: Results, image_ids: set[int]) -> dict[str, float]:
        return voc_metrics(
            scene.truth, results, self.rule, image_ids=image_ids, pixel_inclusive=self.pixel_inclusive
        )


@register
class LvisAP(Metric):
    """LVIS' federated AP of boxes or masks."""

    def __init__(self, of: Literal["bbox", "segm"] = "bbox") -> None:
        self.of, self.masks = of, of == "segm"

    def check(self, scene: Scene) -> None:
        require_lvis(scene.truth, scene.index.name)
        if self.masks:
            _require_masks("lvis_segm", scene)

    def score(self, scene: Scene, results: Results, image_ids: set[int]) -> dict[str, float]:
        return lvis_metrics(scene.truth, results, self.of, image_ids=image_ids)


@register
class CityscapesAP(Metric):
    """Cityscapes' instance AP of masks."""

    masks = True

    def check(self, scene: Scene) -> None:
        if not scene.index.instance_maps:
            raise ValueError(
                f"The metric 'cityscapes' needs the instance maps of gtFine: read {scene.index.name} with "
                "data.val.type: CityscapesReader."
            )

    def score(self, scene: Scene, results: Results, image_ids: set[int]) -> dict[str, float]:
        classes = {name: CLASSES[name] for name in scene.index.class_names}
        return cityscapes_metrics(scene.index.instance_maps, results, image_ids, classes)


@register
class WiderFaceAP(Metric):
    """WIDER FACE's AP of easy, medium and hard faces."""

    def check(self, scene: Scene) -> None:
        if not scene.index.difficulty_lists:
            raise ValueError(
                "The metric 'wider_face' needs data.val.difficulty_lists, the folder of the benchmark's "
                "lists of easy, medium and hard faces (eval_tools/ground_truth)."
            )
        read_difficulty_lists(scene.index.difficulty_lists)

    def score(self, scene: Scene, results: Results, image_ids: set[int]) -> dict[str, float]:
        names = {r.image_id: r.name for r in scene.index.records if r.image_id in image_ids}
        return wider_face_metrics(read_difficulty_lists(scene.index.difficulty_lists or ""), results, names)


def _require_masks(name: str, scene: Scene) -> None:
    """Every object of the ground truth must have a mask."""
    for annotation in scene.truth["annotations"]:
        if not annotation.get("segmentation"):
            raise ValueError(
                f"The metric {name!r} needs masks, but annotation {annotation.get('id')} of image "
                f"{annotation['image_id']} in {scene.index.name} has no 'segmentation'. Score boxes "
                "(bbox), or complete the annotations."
            )


def find(given: str | dict[str, Any] | Metric) -> tuple[str, Metric]:
    """The metric of a name, of a mapping with a ``type`` as in a recipe, or itself, with its name.

    Raises:
        ConfigError: there is none; the message has the nearest name.
    """
    form = Part("Metric", short={name: spec for name, (spec, _) in METRICS.items()})
    metric = build_part(given, form, ("data", "metrics"))
    return metric.name or (given if isinstance(given, str) else type(metric).__name__), metric
