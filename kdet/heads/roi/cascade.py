"""A sequence of second stages, each on the boxes of the one before (Cai & Vasconcelos, 2018)."""

import tensorflow as tf

from kdet.heads.roi.prediction import Prediction, mean
from kdet.heads.roi.standard import split_batch
from kdet.layers import Composite
from kdet.postprocess import PostProcess
from kdet.registry import register
from kdet.structures import network_boxes


@register
class CascadeRoIHead(Prediction, Composite):
    """Stages that refine the regions in turn; class scores and masks are averaged over the stages.

    The parts of the stages are listed as ``bbox_head``, ``mask_head`` ... too: under these names the
    checkpoints know them.

    Args:
        stages: ``StandardRoIHead`` of every stage, with its own assigner and sampler.
        stage_loss_weights: weight of each stage's losses.
        postprocess: ``PostProcess`` of the detections.
    """

    def __init__(self, stages, stage_loss_weights=(1.0, 0.5, 0.25), postprocess=None, **kwargs):
        super().__init__(**kwargs)
        if len(stages) != len(stage_loss_weights):
            counts = f"{len(stages)} stages but {len(stage_loss_weights)} stage_loss_weights"
            raise ValueError(f"{type(self).__name__}: {counts}.")
        self._stages = list(stages)
        self.stage_loss_weights = tuple(stage_loss_weights)
        self.postprocess = postprocess or PostProcess()
        for part in ("bbox_roi_extractor", "bbox_head", "mask_roi_extractor", "mask_head"):
            setattr(self, part, [getattr(stage, part) for stage in stages])

    @property
    def num_classes(self) -> int:
        """Classes without background."""
        return self.bbox_head[0].num_classes

    @property
    def has_masks(self):
        return self.mask_head[-1] is not None

    # ---- training

    def compute_losses(self, features, proposals, targets, info):
        """Losses of all stages, named ``s0.loss_cls`` and so on; see ``StandardRoIHead``."""
        losses = {}
        for i, weight in enumerate(self.stage_loss_weights):
            # every stage draws its own regions
            seeded = {**info, "seed": tf.random.experimental.stateless_fold_in(info["seed"], 16 + i)}
            found, proposals, sampled = self.stage_losses(i, features, proposals, targets, seeded)
            losses.update({f"s{i}.{name}": weight * value for name, value in found.items()})
        losses.update(self.final_losses(features, *sampled, targets, info))
        return losses

    def stage_losses(self, index, features, proposals, targets, info):
        """What one stage has to say.

        Returns:
            ``(losses, proposals [B,S,4] of the next stage, (rois [B,S,4], assignment, outputs))``, the last
            as its box head saw them.
        """
        stage = self._stages[index]
        rois, assignment, is_object = stage.sample(features, proposals, targets, info)
        losses, outputs = stage.bbox_losses(features, rois, assignment, targets)
        if stage.mask_head is not None:
            losses.update(stage.mask_losses(features, rois, assignment, targets, info))
        refined = self.refine(index, outputs, rois, assignment, is_object, targets, info)
        return losses, refined, (rois, assignment, outputs)

    def final_losses(self, features, rois, assignment, outputs, targets, info):
        """Losses after the last stage, on its sampled regions."""
        return {}

    def refine(self, index, outputs, rois, assignment, is_object, targets, info):
        """Sampled regions moved by their stage; the objects among them and empty rows are left out."""
        head = self.bbox_head[index]
        labels = assignment.labels(targets, background=head.num_classes)
        boxes = head.refine(*outputs[:2], rois, info, labels)
        return tf.where(((assignment.weight > 0.0) & ~is_object)[..., None], boxes, 0.0)

    # ---- inference

    def predict_boxes(self, features, proposals, info):
        """Probabilities averaged over the stages and the last stage's boxes; see ``Prediction``."""
        rois, logits, head, outputs = proposals, [], None, None
        for stage in self._stages:
            if outputs is not None:
                rois = head.refine(*outputs[:2], rois, info)
            head = stage.bbox_head
            outputs = stage.bbox_forward(features, rois)
            logits.append(tf.cast(outputs[0], tf.float32))
        scores = split_batch(head.probabilities(mean(logits)), proposals)
        return scores, head.class_boxes(outputs[1], rois, info), head.confidence(outputs[1])

    def predict_masks(self, features, detections, info):
        """``{"masks": [B,N,m,m]}``, probabilities averaged over the stages."""
        rois = network_boxes(detections["boxes"], info)
        logits = self.mask_logits(features, rois)
        labels = detections["labels"]
        masks = [head.probabilities(x, labels) for head, x in zip(self.mask_head, logits)]
        return {"masks": mean(masks)}

    def mask_logits(self, features, rois):
        """Mask logits of regions ``[B,N,4]`` from every stage, merged over the batch."""
        return [stage.mask_forward(features, rois) for stage in self._stages]
