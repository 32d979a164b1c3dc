"""Readers of annotations by the name that ``type`` of a data set gives them."""

from typing import Any, Literal

from kdet.data.cityscapes import read_cityscapes
from kdet.data.coco import read_coco
from kdet.data.index import DatasetIndex
from kdet.data.tfrecord import read_tfrecord
from kdet.data.voc import read_voc
from kdet.data.wider_face import read_wider_face
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
    """

    def read(self, annotations: str, images: str | None) -> DatasetIndex:
        """The images and objects of one annotation file.

        Args:
            annotations: what ``annotations`` of the data set names, one at a time.
            images: what ``images`` of the data set names for it.
        """
        raise NotImplementedError(f"{type(self).__name__} must define read().")


@register
class CocoReader(Reader):
    """COCO JSON; see :func:`kdet.data.read_coco` for the arguments."""

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

    def read(self, annotations: str, images: str | None) -> DatasetIndex:
        return read_coco(annotations, images, **self.options)


@register
class VocReader(Reader):
    """Pascal VOC's XML; see :func:`kdet.data.read_voc` for the arguments."""

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

    def read(self, annotations: str, images: str | None) -> DatasetIndex:
        return read_voc(annotations, images, **self.options)


@register
class TFRecordReader(Reader):
    """Model Garden's TFExample layout; see :func:`kdet.data.read_tfrecord` for the arguments."""

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

    def read(self, annotations: str, images: str | None) -> DatasetIndex:
        return read_tfrecord(annotations, images, **self.options)


@register
class CityscapesReader(Reader):
    """Cityscapes' instance maps or polygons; see :func:`kdet.data.read_cityscapes` for the arguments."""

    def __init__(
        self, classes: ClassNames | None = None, masks: bool = False, on_missing: FaultRule = "error"
    ) -> None:
        self.options: dict[str, Any] = {"classes": classes, "masks": masks, "on_missing": on_missing}

    def read(self, annotations: str, images: str | None) -> DatasetIndex:
        return read_cityscapes(annotations, images or "", **self.options)


@register
class WiderFaceReader(Reader):
    """WIDER FACE's text files; see :func:`kdet.data.read_wider_face` for the other arguments.

    Args:
        difficulty_lists: folder of the benchmark's lists of easy, medium and hard faces, for its metric.
    """

    def __init__(
        self,
        classes: ClassNames | None = None,
        masks: bool = False,
        on_missing: FaultRule = "error",
        difficulty_lists: Path | None = None,
    ) -> None:
        self.options: dict[str, Any] = {"classes": classes, "masks": masks, "on_missing": on_missing}
        self.difficulty_lists = difficulty_lists

    def read(self, annotations: str, images: str | None) -> DatasetIndex:
        index = read_wider_face(annotations, images or "", **self.options)
        index.difficulty_lists = self.difficulty_lists
        return index
