"""Readers of annotations by the name that ``type`` of a data set gives them."""

from typing import Any, ClassVar, Literal

from kdet.data import layouts
from kdet.data.cityscapes import read_cityscapes
from kdet.data.coco import read_coco
from kdet.data.coco_panoptic import read_coco_panoptic
from kdet.data.crowd_human import read_crowd_human
from kdet.data.cvat import read_cvat
from kdet.data.index import DatasetIndex
from kdet.data.label_studio import read_label_studio
from kdet.data.labelme import read_labelme
from kdet.data.layouts import DataSets
from kdet.data.open_images import read_open_images
from kdet.data.tfrecord import read_tfrecord
from kdet.data.voc import read_voc
from kdet.data.wider_face import read_wider_face
from kdet.data.yolo import read_yolo
from kdet.registry import Component, register
from kdet.settings import ClassNames, FaultRule, Path


class Reader(Component):
    """What makes a :class:`kdet.data.DatasetIndex` out of files; derive from it to read a format of your own.

    The constructor takes what it needs of ``classes``, ``masks``, ``on_missing`` and ``on_corrupt``, which
    every data set of a recipe has, and keywords of its own, which then are keys of the data set too.

    Example:
        >>> @kdet.registry.register
        ... class CsvReader(kdet.data.Reader):
        ...     def __init__(self, classes=None, separator: str = ","):
        ...         self.classes, self.separator = classes, separator
        ...
        ...     def read(self, annotations, images):
        ...         return kdet.data.DatasetIndex(...)

    Attributes:
        gives_class_maps: the targets have ``semantic`` without ``data.semantic``.
    """

    gives_class_maps: ClassVar[bool] = False

    @classmethod
    def data_sets(cls, path: str) -> DataSets:
        """What of this format a file or folder holds: the keys of a data set for each of its splits.

        For ``kdet train --data``, ``kdet dataset`` and the like, which recognize formats by themselves.
        Splits are called "train", "val" and "test", a single data set of no such name "all".

        Args:
            path: of a file or a folder, or a pattern.

        Returns:
            ``{split: {"annotations": ..., "images": ...}}``; empty where it is another format.
        """
        return {}

    def read(self, annotations: str, images: str | None) -> DatasetIndex:
        """The images and objects of one annotation file.

        Args:
            annotations: what ``annotations`` of the data set names, one at a time.
            images: what ``images`` of the data set names for it.
        """
        raise NotImplementedError(f"{type(self).__name__} must define read().")


@register
class CocoReader(Reader):
    """COCO JSON, read by :func:`kdet.data.read_coco`.

    Args:
        classes: names to use, in label order; None takes all that the annotations have.
        masks: keep the instance masks.
        on_missing: "error" or "skip": leave out and count images that are not on disk.
        on_corrupt: "error" or "skip": leave out and count entries with values of the wrong kind.
        allow_outside: image names may lead out of the folder.
        crowds: "ignore": crowds are regions to ignore; "objects": they are objects like others, for files
            that mark single objects as crowds (CVAT's run lengths).
    """

    def __init__(
        self,
        classes: ClassNames | None = None,
        masks: bool = False,
        on_missing: FaultRule = "error",
        on_corrupt: FaultRule = "error",
        allow_outside: bool = False,
        crowds: Literal["ignore", "objects"] = "ignore",
    ) -> None:
        self.options: dict[str, Any] = {"classes": classes, "masks": masks, "on_missing": on_missing}
        self.options.update(on_corrupt=on_corrupt, allow_outside=allow_outside, crowds=crowds)

    @classmethod
    def data_sets(cls, path: str) -> DataSets:
        return layouts.coco(path)

    def read(self, annotations: str, images: str | None) -> DatasetIndex:
        return read_coco(annotations, images, **self.options)


@register
class CocoPanopticReader(Reader):
    """JSON and PNGs of COCO's panoptic task; see :func:`kdet.data.read_coco_panoptic` for the arguments."""

    gives_class_maps = True

    def __init__(
        self,
        classes: ClassNames | None = None,
        masks: bool = False,
        on_missing: FaultRule = "error",
        on_corrupt: FaultRule = "error",
        allow_outside: bool = False,
        segments: Path | None = None,
    ) -> None:
        self.options: dict[str, Any] = {"classes": classes, "masks": masks, "on_missing": on_missing}
        self.options.update(on_corrupt=on_corrupt, allow_outside=allow_outside, segments=segments)

    def read(self, annotations: str, images: str | None) -> DatasetIndex:
        return read_coco_panoptic(annotations, images, **self.options)


@register
class VocReader(Reader):
    """Pascal VOC's XML, read by :func:`kdet.data.read_voc`.

    Args:
        classes: names to use, in label order; None takes all that the annotations have.
        masks: keep the instance masks; the format has none, so it must be False.
        on_missing: "error" or "skip": leave out and count images that are not on disk.
        on_corrupt: "error" or "skip": leave out and count unusable annotations and objects.
        allow_outside: image names may lead out of the folder.
    """

    def __init__(
        self,
        classes: ClassNames | None = None,
        masks: bool = False,
        on_missing: FaultRule = "error",
        on_corrupt: FaultRule = "error",
        allow_outside: bool = False,
    ) -> None:
        self.options: dict[str, Any] = {"classes": classes, "masks": masks, "on_missing": on_missing}
        self.options.update(on_corrupt=on_corrupt, allow_outside=allow_outside)

    @classmethod
    def data_sets(cls, path: str) -> DataSets:
        return layouts.voc(path)

    def read(self, annotations: str, images: str | None) -> DatasetIndex:
        return read_voc(annotations, images, **self.options)


@register
class TFRecordReader(Reader):
    """Model Garden's TFExample layout, read by :func:`kdet.data.read_tfrecord`.

    Args:
        classes: names to use, in label order; None takes all that the files have.
        masks: keep the instance masks.
        on_corrupt: "error" or "skip": leave out and count examples with wrong values.
        crowds: "ignore": crowds are regions to ignore; "objects": they are objects like others, for files
            that mark single objects as crowds (CVAT's run lengths).
    """

    def __init__(
        self,
        classes: ClassNames | None = None,
        masks: bool = False,
        on_corrupt: FaultRule = "error",
        crowds: Literal["ignore", "objects"] = "ignore",
    ) -> None:
        self.options: dict[str, Any] = {
            "classes": classes,
            "masks": masks,
            "on_corrupt": on_corrupt,
            "crowds": crowds,
        }

    @classmethod
    def data_sets(cls, path: str) -> DataSets:
        return layouts.tfrecord(path)

    def read(self, annotations: str, images: str | None) -> DatasetIndex:
        return read_tfrecord(annotations, images, **self.options)


@register
class CityscapesReader(Reader):
    """Cityscapes' instance maps or polygons, read by :func:`kdet.data.read_cityscapes`.

    Args:
        classes: names to use, in label order; None takes the eight evaluated ones.
        masks: keep the instance masks.
        on_missing: "error" or "skip": leave out and count images that are not on disk.
        on_corrupt: "error" or "skip": leave out and count unusable annotation files.
    """

    def __init__(
        self,
        classes: ClassNames | None = None,
        masks: bool = False,
        on_missing: FaultRule = "error",
        on_corrupt: FaultRule = "error",
    ) -> None:
        self.options: dict[str, Any] = {"classes": classes, "masks": masks, "on_missing": on_missing}
        self.options.update(on_corrupt=on_corrupt)

    @classmethod
    def data_sets(cls, path: str) -> DataSets:
        return layouts.cityscapes(path)

    def read(self, annotations: str, images: str | None) -> DatasetIndex:
        return read_cityscapes(annotations, images or "", **self.options)


@register
class WiderFaceReader(Reader):
    """WIDER FACE's text files, read by :func:`kdet.data.read_wider_face`.

    Args:
        classes: ``["face"]`` or None.
        masks: keep the instance masks; the format has none, so it must be False.
        on_missing: "error" or "skip": leave out and count images that are not on disk.
        on_corrupt: "error" or "skip": leave out and count unusable entries, faces and images.
        allow_outside: image names may lead out of the folder.
        difficulty_lists: folder of the benchmark's lists of easy, medium and hard faces, for its metric.
    """

    def __init__(
        self,
        classes: ClassNames | None = None,
        masks: bool = False,
        on_missing: FaultRule = "error",
        on_corrupt: FaultRule = "error",
        allow_outside: bool = False,
        difficulty_lists: Path | None = None,
    ) -> None:
        self.options: dict[str, Any] = {"classes": classes, "masks": masks, "on_missing": on_missing}
        self.options.update(on_corrupt=on_corrupt, allow_outside=allow_outside)
        self.difficulty_lists = difficulty_lists

    @classmethod
    def data_sets(cls, path: str) -> DataSets:
        return layouts.wider_face(path)

    def read(self, annotations: str, images: str | None) -> DatasetIndex:
        index = read_wider_face(annotations, images or "", **self.options)
        index.difficulty_lists = self.difficulty_lists
        return index


class _Usual(Reader):
    """A reader with the options that all have, and no other."""

    def __init__(
        self,
        classes: ClassNames | None = None,
        masks: bool = False,
        on_missing: FaultRule = "error",
        on_corrupt: FaultRule = "error",
        allow_outside: bool = False,
    ) -> None:
        self.options: dict[str, Any] = {"classes": classes, "masks": masks, "on_missing": on_missing}
        self.options.update(on_corrupt=on_corrupt, allow_outside=allow_outside)


@register
class CrowdHumanReader(_Usual):
    """CrowdHuman's ``.odgt`` files; see :func:`kdet.data.read_crowd_human` for the arguments."""

    @classmethod
    def data_sets(cls, path: str) -> DataSets:
        return layouts.crowd_human(path)

    def read(self, annotations: str, images: str | None) -> DatasetIndex:
        return read_crowd_human(annotations, images or "", **self.options)


@register
class YoloReader(_Usual):
    """YOLO's text files; see :func:`kdet.data.read_yolo` for the arguments."""

    def __init__(
        self,
        classes: ClassNames | None = None,
        masks: bool = False,
        on_missing: FaultRule = "error",
        on_corrupt: FaultRule = "error",
        allow_outside: bool = False,
        split: Literal["train", "val", "test"] = "train",
    ) -> None:
        super().__init__(classes, masks, on_missing, on_corrupt, allow_outside)
        self.options.update(split=split)

    @classmethod
    def data_sets(cls, path: str) -> DataSets:
        return layouts.yolo(path)

    def read(self, annotations: str, images: str | None) -> DatasetIndex:
        return read_yolo(annotations, images, **self.options)


@register
class LabelMeReader(_Usual):
    """LabelMe's JSON files; see :func:`kdet.data.read_labelme` for the arguments."""

    @classmethod
    def data_sets(cls, path: str) -> DataSets:
        return layouts.labelme(path)

    def read(self, annotations: str, images: str | None) -> DatasetIndex:
        return read_labelme(annotations, images, **self.options)


@register
class CvatReader(_Usual):
    """Exports of CVAT "for images 1.1"; see :func:`kdet.data.read_cvat` for the arguments."""

    @classmethod
    def data_sets(cls, path: str) -> DataSets:
        return layouts.cvat(path)

    def read(self, annotations: str, images: str | None) -> DatasetIndex:
        return read_cvat(annotations, images, **self.options)


@register
class LabelStudioReader(_Usual):
    """Label Studio's JSON export; see :func:`kdet.data.read_label_studio` for the arguments."""

    @classmethod
    def data_sets(cls, path: str) -> DataSets:
        return layouts.label_studio(path)

    def read(self, annotations: str, images: str | None) -> DatasetIndex:
        return read_label_studio(annotations, images, **self.options)


@register
class OpenImagesReader(_Usual):
    """Open Images' boxes, and its challenges'; see :func:`kdet.data.read_open_images` for the arguments."""

    def __init__(
        self,
        classes: ClassNames | None = None,
        masks: bool = False,
        on_missing: FaultRule = "error",
        on_corrupt: FaultRule = "error",
        allow_outside: bool = False,
        class_descriptions: Path | None = None,
        crowds: Literal["ignore", "objects"] = "ignore",
    ) -> None:
        super().__init__(classes, masks, on_missing, on_corrupt, allow_outside)
        self.options.update(class_descriptions=class_descriptions, crowds=crowds)

    @classmethod
    def data_sets(cls, path: str) -> DataSets:
        return layouts.open_images(path)

    def read(self, annotations: str, images: str | None) -> DatasetIndex:
        return read_open_images(annotations, images, **self.options)
