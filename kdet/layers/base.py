"""What kdet asks of its layers beside what Keras does."""

from collections.abc import Mapping
from typing import Any, ClassVar

import keras

from kdet.registry import replace_setting

_PLAIN = (bool, int, float, str)
_UNTRACKED = frozenset({*_PLAIN, type(None)})
# A tensor of a checkpoint: the attribute that holds its variable (dotted for a child's; several: the parts of
# the tensor along its first axis), and the rule by which its layout differs (``kdet.convert.layouts``).
TorchTensor = tuple[str | tuple[str, ...], Any]


class TorchNamed:
    """Base of what has children in checkpoints: layers and detectors."""

    @property
    def torch_names(self) -> Mapping[str, str | tuple[str, ...]]:
        """``{attribute: torch name}`` where the two differ; a class attribute in most layers.

        ``""`` lists the children at the level of their parent, as ``torch.nn.Sequential`` does, and so do
        several names, which are those of a list's items. Private attributes count only when they are here.
        """
        return {}


class Layer(TorchNamed, keras.layers.Layer):
    """Base of kdet's layers; what a class leaves unsaid is as here.

    A number or word of an argument's name that is set on a layer which has been built
    (``mask_head.mask_threshold = 0.4``) replaces that argument: ``predict`` heeds it and files keep it.

    Attributes:
        torch_tensors: the layer's own variables by their PyTorch names, as in
            ``{"weight": ("kernel", "conv"), "bias": ("bias", None)}``. An attribute that is None or missing
            has no tensor, and a child whose variable is named is not looked through again. Variables that
            are not named keep their attribute's name and layout.
        training_state: private attributes whose variables no checkpoint has.
        build_size: least side of an image, in pixels, on which the layer can be built and run; 0 for any.
    """

    training_state: ClassVar[tuple[str, ...]] = ()
    build_size: int = 0

    def __setattr__(self, name: str, value: Any) -> None:
        before = self.__dict__.get(name)
        if type(value) in _UNTRACKED:
            # Keras and TensorFlow keep no account of these, but look through all that they do keep
            object.__setattr__(self, name, value)
        else:
            super().__setattr__(name, value)
        if isinstance(value, _PLAIN) and value != before and self.__dict__.get("built"):
            replace_setting(self, name, value)

    @property
    def torch_tensors(self) -> Mapping[str, TorchTensor]:
        """See the class; a class attribute in most layers."""
        return {}

    def layers_above(self, name: str) -> int | None:
        """How many layers lie between one of its tensors and what comes behind it.

        For rates of learning that fall towards the image. None: the layers are not counted.

        Args:
            name: the tensor's PyTorch name inside of this layer.
        """
        return None

    def part(self, name: str) -> Any:
        """The attribute of a name that is put together, as the checkpoints' ``layer1`` and ``bn2`` are."""
        # the one way to an attribute whose name is not known when this is written
        return getattr(self, name)
