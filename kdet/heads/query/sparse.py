"""Sparse R-CNN: learned proposals and their features, refined in turn (Sun et al., 2021)."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from kdet import geometry
from kdet.coders import DeltaXYWHCoder
from kdet.contract import Assignment, Detections, ImageInfo, Targets
from kdet.coordinates import size_as_box
from kdet.heads.base import Losses
from kdet.heads.dense.towers import prior_bias
from kdet.heads.query.criterion import SetCriterion
from kdet.heads.roi.extractor import SingleRoIExtractor
from kdet.heads.roi.standard import merge_batch, split_batch
from kdet.layers import FFN, Composite, Embedding, LayerNorm, Linear, MultiheadAttention, apply_list
from kdet.postprocess import TopQueries
from kdet.registry import register
from kdet.typing import Maps, Tensor


@register
class EmbeddingRPNHead(Composite):
    """Proposals that are the same for every image, but for its size.

    Args:
        num_proposals: their number.
        units: channels of their features.

    Outputs: ``(boxes [B,N,4], proposal features [B,N,units])``.
    """

    def __init__(self, num_proposals: int = 100, units: int = 256, **kwargs: Any) -> None:
        # boxes must not be cast to the compute dtype
        super().__init__(autocast=False, **kwargs)
        whole_image = keras.initializers.Constant([0.5, 0.5, 1.0, 1.0])
        self.init_proposal_bboxes = Embedding(num_proposals, 4, whole_image, dtype="float32")
        self.init_proposal_features = Embedding(num_proposals, units)

    def call(self, features: Maps, info: ImageInfo, training: bool = False) -> tuple[Tensor, Any]:
        boxes = geometry.from_center_size(self.init_proposal_bboxes(info["valid_size"]))
        return boxes * size_as_box(info["valid_size"]), self.init_proposal_features(features[0])


@register
class DynamicConv(Composite):
    """Two 1x1 convolutions of a region with kernels made from the features of its proposal.

    Args:
        units: channels of regions and proposals.
        hidden_units: channels between the two.
        project: a dense layer makes one vector of all cells; otherwise the region keeps its cells.

    Call: ``proposals [R,units]``, ``regions [R,h,w,units]`` -> ``[R,units]`` or ``[R,h,w,units]``.
    """

    def __init__(self, units: int = 256, hidden_units: int = 64, project: bool = True, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.units, self.hidden_units, self.project = units, hidden_units, project
        self.dynamic_layer = Linear(2 * units * hidden_units)
        self.norm_in, self.norm_out = LayerNorm(), LayerNorm()
        if project:
            self.fc_layer, self.fc_norm = Linear(units), LayerNorm()

    def call(self, proposals: Tensor, regions: Tensor) -> Tensor:
        first, second = tf.split(self.dynamic_layer(proposals), 2, axis=-1)
        cells = regions.shape[1] * regions.shape[2]
        x = tf.reshape(regions, [-1, cells, self.units])
        x = tf.matmul(x, tf.reshape(first, [-1, self.units, self.hidden_units]))
        x = tf.nn.relu(self.norm_in(x))
        x = tf.matmul(x, tf.reshape(second, [-1, self.hidden_units, self.units]))
        x = tf.nn.relu(self.norm_out(x))
        if not self.project:
            return tf.reshape(x, [-1, *regions.shape[1:]])
        return tf.nn.relu(self.fc_norm(self.fc_layer(tf.reshape(x, [-1, cells * self.units]))))


def dense_tower(depth: int, units: int) -> list[keras.Layer | None]:
    """Dense layers with norm and ReLU (None), at their places in the checkpoint's list."""
    layers = []
    for _ in range(depth):
        layers += [Linear(units, use_bias=False), LayerNorm(), None]
    return layers


@register
class DynamicHead(Composite):
    """One stage: proposals look at each other, then each at its region.

    Args:
        num_classes: classes without background.
        units, num_heads, ffn_units, hidden_units: sizes of the layers.
        num_cls_fcs, num_reg_fcs: dense layers before the predictions.

    Call: ``proposals [B,N,units]``, ``regions [B,N,h,w,units]`` -> logits ``[B,N,classes]``, deltas
    ``[B,N,4]``, the proposals of the next stage and those after attention, ``[B,N,units]``.
    """

    def __init__(
        self,
        num_classes: int,
        units: int = 256,
        num_heads: int = 8,
        ffn_units: int = 2048,
        hidden_units: int = 64,
        num_cls_fcs: int = 1,
        num_reg_fcs: int = 3,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.attention, self.attention_norm = MultiheadAttention(units, num_heads), LayerNorm()
        self.instance_interactive_conv = DynamicConv(units, hidden_units)
        self.instance_interactive_conv_norm = LayerNorm()
        self.ffn, self.ffn_norm = FFN(ffn_units, units), LayerNorm()
        self.cls_fcs, self.reg_fcs = dense_tower(num_cls_fcs, units), dense_tower(num_reg_fcs, units)
        self.fc_cls, self.fc_reg = Linear(num_classes, bias_initializer=prior_bias()), Linear(4)

    def call(self, proposals: Tensor, regions: Tensor) -> tuple[Any, Any, Any, Any]:
        attended = self.attention_norm(proposals + self.attention(proposals))
        x = self.instance_interactive_conv(merge_batch(attended), merge_batch(regions))
        x = self.instance_interactive_conv_norm(attended + split_batch(x, attended))
        x = self.ffn_norm(x + self.ffn(x))
        logits = self.fc_cls(apply_list(self.cls_fcs, x))
        return logits, self.fc_reg(apply_list(self.reg_fcs, x)), x, attended


class Stage(NamedTuple):
    """What one stage predicts for the proposals.

    Attributes:
        logits: ``[B,N,classes]``.
        boxes: ``[B,N,4]`` in network pixels.
        attended: features of the proposals after they looked at each other, ``[B,N,units]``.
    """

    logits: Tensor
    boxes: Tensor
    attended: Tensor


@register
class SparseRoIHead(Composite):
    """Stages of ``DynamicHead``, each on the boxes and features of the one before.

    Args:
        num_classes: classes without background.
        criterion: ``SetCriterion`` of every stage.
        num_stages: number of stages.
        units: channels of maps and proposals.
        roi_size, strides: see ``SingleRoIExtractor``.
        postprocess: ``TopQueries``.
    """

    def __init__(
        self,
        num_classes: int,
        criterion: SetCriterion,
        num_stages: int = 6,
        units: int = 256,
        roi_size: int = 7,
        strides: Sequence[int] = (4, 8, 16, 32),
        postprocess: TopQueries | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.num_classes = num_classes
        self.units = units
        self.criterion, self.postprocess = criterion, postprocess or TopQueries()
        self.coder = DeltaXYWHCoder(stds=(0.5, 0.5, 1.0, 1.0), clip_border=False)
        stages = range(num_stages)
        self.bbox_roi_extractor = [SingleRoIExtractor(roi_size, strides, sampling_ratio=2) for _ in stages]
        self.bbox_head = [DynamicHead(num_classes, units) for _ in stages]

    @property
    def mask_threshold(self) -> float:
        """Probability from which a pixel belongs to the object."""
        return 0.5

    def stages(self, features: Maps, boxes: Tensor, proposals: Tensor, training: bool = False) -> list[Stage]:
        """What every stage predicts; arguments as in ``compute_losses``."""
        found = []
        for extractor, head in zip(self.bbox_roi_extractor, self.bbox_head):
            regions = extractor(features, tf.stop_gradient(boxes))
            logits, deltas, proposals, attended = head(proposals, regions, training=training)
            found.append(Stage(logits, self.coder.decode(boxes, deltas), attended))
            boxes = tf.stop_gradient(found[-1].boxes)
        return found

    def compute_losses(
        self, features: Maps, boxes: Tensor, proposals: Tensor, targets: Targets, info: ImageInfo
    ) -> Losses:
        """Losses of all stages, ``stage0_loss_cls`` and so on.

        Args:
            features: tuple of ``[B,h,w,units]``.
            boxes, proposals: of ``EmbeddingRPNHead``.
            targets: the data contract's dict.
            info: ImageInfo.
        """
        stages = self.stages(features, boxes, proposals, training=True)
        logits, refined = (tf.stack([stage[k] for stage in stages]) for k in range(2))
        relative = geometry.to_center_size(refined / size_as_box(info["valid_size"]))
        assignments = self.criterion.assign(logits, relative, targets, info)
        found = self.criterion.losses(logits, relative, assignments, targets, info)
        for i, (losses, stage, assignment) in enumerate(zip(found, stages, assignments, strict=True)):
            losses.update(self.more_losses(i, features, stage, assignment, targets, info))
        return {f"stage{i}_{name}": value for i, losses in enumerate(found) for name, value in losses.items()}

    def more_losses(
        self,
        index: int,
        features: Maps,
        stage: Stage,
        assignment: Assignment,
        targets: Targets,
        info: ImageInfo,
    ) -> Losses:
        """What a stage learns beside classes and boxes (QueryInst: masks)."""
        return {}

    def predict(self, features: Maps, boxes: Tensor, proposals: Tensor, info: ImageInfo) -> Detections:
        """Detections in original pixels; arguments as in ``compute_losses``."""
        return self.decode(features, self.stages(features, boxes, proposals)[-1], info)

    def decode(self, features: Maps, stage: Stage, info: ImageInfo) -> Detections:
        """Detections in original pixels from what the last stage predicts."""
        return self.postprocess(self.criterion.probabilities(stage.logits), stage.boxes, info)

    def build_on(self, features: Maps, boxes: Tensor, proposals: Tensor, info: ImageInfo) -> None:
        """Call every branch once; arguments as in ``compute_losses``."""
        self.predict(features, boxes, proposals, info)
