"""What detections are scored by: metrics as registered classes, with short names for those of benchmarks."""

import dataclasses
import os
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from kdet.building import build_part
from kdet.data.cityscapes import CLASSES
from kdet.data.index import DatasetIndex
from kdet.data.open_images_classes import read_descriptions, read_hierarchy, read_image_labels
from kdet.evaluation.cityscapes import cityscapes_metrics
from kdet.evaluation.coco import coco_metrics
from kdet.evaluation.crowd_human import crowd_human_metrics
from kdet.evaluation.lvis import lvis_metrics, require_lvis
from kdet.evaluation.open_images import open_images_metrics
from kdet.evaluation.panoptic import PanopticResult, panoptic_metrics
from kdet.evaluation.truth import Truth
from kdet.evaluation.voc import voc_metrics
from kdet.evaluation.wider_face import read_difficulty_lists, wider_face_metrics
from kdet.ranges import Part
from kdet.registry import Component, register
from kdet.settings import METRICS, Path


@dataclasses.dataclass(frozen=True)
class Scene:
    """What detections are scored against.

    Attributes:
        index: the data set.
        truth: its COCO dict, made when it is asked for.
        panoptic: what panoptic segments were found, by image id; None where the model finds none.
    """

    index: DatasetIndex
    truth: Mapping[str, Any]
    panoptic: Mapping[int, PanopticResult] | None = None


Results = Sequence[dict[str, Any]]  # COCO result dicts


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


@register
class CrowdHumanAP(Metric):
    """CrowdHuman's AP, log-average miss rate and Jaccard index."""

    def score(self, scene: Scene, results: Results, image_ids: set[int]) -> dict[str, float]:
        return crowd_human_metrics(scene.truth, results, image_ids)


@register
class OpenImagesAP(Metric):
    """Open Images' mAP.

    Args:
        class_descriptions: the benchmark's list of classes, which the two other files go by.
        hierarchy: its tree of classes (``bbox_labels_600_hierarchy.json``), or MMDetection's matrix for the
            challenge of 2019 (``class_label_tree.np``): an object counts for all classes above its own.
        image_labels: ``...-human-imagelabels.csv``, which classes people looked for in an image; None: those
            of its objects alone.
    """

    def __init__(
        self,
        class_descriptions: Path | None = None,
        hierarchy: Path | None = None,
        image_labels: Path | None = None,
    ) -> None:
        if (hierarchy or image_labels) and not class_descriptions:
            raise ValueError("OpenImagesAP: hierarchy and image_labels need class_descriptions.")
        self.class_descriptions, self.hierarchy, self.image_labels = (
            class_descriptions,
            hierarchy,
            image_labels,
        )

    def check(self, scene: Scene) -> None:
        self._facts(scene)

    def score(self, scene: Scene, results: Results, image_ids: set[int]) -> dict[str, float]:
        return open_images_metrics(scene.truth, results, *self._facts(scene), image_ids=image_ids)

    def _facts(self, scene: Scene) -> tuple[dict[int, set[int]], dict[int, set[int]]]:
        """The categories above each, and those that were looked for in each image."""
        if self.class_descriptions is None:
            return {}, {}
        descriptions = read_descriptions(self.class_descriptions)
        ids = {category["name"]: category["id"] for category in scene.truth["categories"]}

        def known(names: set[str]) -> set[int]:
            return {ids[name] for name in names if name in ids}

        above = read_hierarchy(self.hierarchy, descriptions) if self.hierarchy else {}
        looked_for = read_image_labels(self.image_labels, descriptions) if self.image_labels else {}
        stems = {r.image_id: os.path.splitext(os.path.basename(r.name))[0] for r in scene.index.records}
        return (
            {ids[name]: known(names) for name, names in above.items() if name in ids},
            {image: known(looked_for.get(stem, set())) for image, stem in stems.items()},
        )


@register
class PanopticPQ(Metric):
    """Panoptic quality, segmentation quality and recognition quality, of things, of stuff and of all."""

    def check(self, scene: Scene) -> None:
        if not scene.index.has_segments:
            raise ValueError(
                f"The metric 'panoptic' needs panoptic maps: read {scene.index.name} with data.val.type: "
                "CocoPanopticReader."
            )

    def score(self, scene: Scene, results: Results, image_ids: set[int]) -> dict[str, float]:
        if scene.panoptic is None:
            raise ValueError("The metric 'panoptic' needs panoptic segments, and the model finds none.")
        return panoptic_metrics(scene.index, scene.panoptic, image_ids)


def _require_masks(name: str, scene: Scene) -> None:
    """Every object of the ground truth must have a mask."""
    if isinstance(scene.truth, Truth) and scene.truth.all_have_masks():
        return
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
