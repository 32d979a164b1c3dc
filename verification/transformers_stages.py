"""One detector of the Transformers library against its golden at inference: stages and detections."""

import re

import numpy as np
import tensorflow as tf

from kdet.heads.query import LWDETRHead, MaskOutputs
from kdet.heads.query.cells import cell_anchors
from kdet.heads.query.dfine_decoder import DistributionOutputs
from verification import checks
from verification.checks import Row, worst_row
from verification.matching import match_masks
from verification.recorder import Recorder, resolve

# the golden's names of recorded layers -> where kdet has them; the rest of the name says which output
LAYERS = (
    (r"^backbone/feature_maps/(\d+)$", "backbone", r"/\1"),
    (r"^backbone_out/(\d+)$", r"neck.encoder_input_proj.\1", ""),
    (r"^backbone\.(embeddings)$", r"backbone.backbone.\1", ""),
    (r"^backbone\.spatial_tuning_adapter/(\d+)$", "backbone.spatial_tuning_adapter", r"/\1"),
    (r"^encoder/(?:last_hidden_state|feature_maps)/(\d+)$", "neck.encoder", r"/\1"),
    (r"^(enc_score_head|enc_bbox_head)$", r"bbox_head.\1", ""),
    (r"^(decoder\.layers\.\d+)$", r"bbox_head.\1", ""),
    (r"^(decoder\.layers\.\d+)/0$", r"bbox_head.\1", ""),
    (r"^(decoder\.layers\.\d+)\.deformable_attention/0$", r"bbox_head.\1.encoder_attn", ""),
)
# of LW-DETR and RF-DETR, whose backbones' maps one neck joins
GROUPED = (
    (r"^backbone\.(embeddings)$", r"backbone.\1", ""),
    (r"^backbone\.projector$", "neck", "/0"),
    (r"^backbone\.projector/(\d+)$", "neck", r"/\1"),
    (r"^(enc_out_(?:class|bbox)_embed\.0)$", r"bbox_head.\1", ""),
)
JOINED = (
    (r"^backbone/feature_maps/(\d+)$", "backbone.backbone", r"/\1"),
    (r"^backbone_out/(\d+)$", "backbone", r"/\1"),
)
# outputs whose numbers stand elsewhere, too, or are none of the head's
UNUSED = r"^pre|deformable_attention/1$|^out/(last_hidden_state|encoder_last_hidden_state)"

# the reference makes boxes of all cells, kdet of the chosen ones: here they are made of what goes into them
ALL_BOXES = ("bbox_head.enc_bbox_head", "bbox_head.enc_out_bbox_embed.0")


def stage_rows(model, golden):
    """Layers, what the head says of the recorded queries, the choice of queries, and the detections.

    The decoder's stages are compared for the queries that the reference chose: a thousand scores have
    neighbors that rounding exchanges. The detections are those of kdet's own choice.
    """
    head = model.bbox_head
    grouped = isinstance(head, LWDETRHead)
    special = GROUPED if grouped else JOINED if resolve(model, "backbone.backbone") is not None else ()
    places = {name: place_of(name, special) for name in golden.sampled_names()}
    all_cells, maps = ("enc_output_norm.0", "neck") if grouped else ("enc_output.1", "neck.encoder")
    all_cells = f"bbox_head.{all_cells}"
    layers = sorted({place[0] for place in places.values() if place} - set(ALL_BOXES) | {all_cells, maps})
    with Recorder(model, layers) as recorder, chosen_queries(head, golden) as choice:
        outputs = model.outputs(checks.golden_images(golden), checks.info_of(golden))
    cells, shapes = output_of(recorder, all_cells, ""), [x.shape[1:3] for _, x in recorder.outputs[maps]]
    named = (named_groups if grouped else named_outputs)(outputs, head, cells, shapes)
    errors = {}
    for name, place in places.items():
        if re.search(UNUSED, name):
            continue
        known = place is None or place[0] in ALL_BOXES
        stage = "bbox_head" if known else place[0]
        array = named.get(name.removeprefix("out/")) if known else output_of(recorder, *place)
        errors.setdefault(stage, {})[name] = error_of(golden, name, array)
    rows = [worst_row(stage, "stage", found) for stage, found in errors.items()]
    if choice.share is not None:
        note = f"chosen otherwise, {choice.gap:.1e} apart"
        rows.append(Row("bbox_head.queries", choice.share, choice.gap < 1e-4, note))
    found = model.detect(checks.golden_images(golden), checks.info_of(golden))
    found = {key: value if key == "num_detections" else value[:, : golden.meta["num_top"]]
             for key, value in found.items()}  # fmt: skip
    found["num_detections"] = tf.minimum(found["num_detections"], golden.meta["num_top"])
    rows.append(checks.detection_row(golden, "det", [found]))
    if "f/seg/0/masks_packed" in golden.d:
        rows.append(mask_row(model, golden, found))
    return rows


def mask_row(model, golden, found):
    """1 - IoU of the worst of the stored masks, and the worst area of the others, those of the best boxes.

    Masks of transformers come in the order of the detections, without the empty ones.
    """
    worst, count = 0.0, 0
    for i, meta in enumerate(golden.meta["img_metas"]):
        h, w = meta["ori_shape"][:2]
        masks = model.image_masks({k: np.asarray(v[i]) for k, v in found.items()}, h, w)
        areas, labels = (golden.full(f"seg/{i}/{key}") for key in ("mask_areas", "labels"))
        boxes = np.concatenate([np.zeros([len(areas), 4]), golden.full(f"seg/{i}/scores")[:, None]], -1)
        ours = {"masks": masks, "scores": found["scores"][i].numpy(), "labels": found["labels"][i].numpy()}
        rows = match_masks(areas, boxes[:, 4], labels, ours)
        packed = golden.full(f"seg/{i}/masks_packed")
        wanted = np.unpackbits(packed, axis=-1)[..., :w].astype(bool)
        worst = max(worst, float((rows < 0).mean()))
        for mask, row in zip(wanted, rows):
            worst = max(
                worst, 1.0 - (mask & masks[row]).sum() / (mask | masks[row]).sum() if row >= 0 else 1.0
            )
            count += 1
    return checks.worst_row("masks", "masks", {"worst": worst}, {"worst": f"{count} masks"})


def named_outputs(outputs, head, cells, shapes):
    """What the model gives, by the golden's names.

    Args:
        outputs: of the head.
        head: it.
        cells: ``[B,S,units]``, what scores and boxes of all cells are made of.
        shapes: (h, w) of the maps.
    """
    layers = outputs.layers
    moves = head.enc_bbox_head(tf.constant(cells))
    named = {
        "enc_bbox_head": moves,
        "enc_outputs_coord_logits": moves + cell_anchors(shapes)[0],
        "init_reference_points": outputs.cell_boxes,
        "enc_topk_logits": outputs.cell_logits,
        "enc_topk_bboxes": tf.sigmoid(outputs.cell_boxes),
        "logits": layers.logits[-1],
        "pred_boxes": layers.boxes[-1],
    }
    if not isinstance(layers, DistributionOutputs):
        return {
            **named,
            "intermediate_hidden_states": tf.stack(layers.states, 1),
            "intermediate_logits": tf.stack(layers.logits, 1),
            "intermediate_reference_points": tf.stack(layers.boxes, 1),
        }
    return {  # of the last layer only, but for the states
        **named,
        "intermediate_hidden_states": tf.stack(layers.states),
        "intermediate_logits": layers.logits[-1][:, None],
        "intermediate_reference_points": layers.boxes[-1][:, None],
        "intermediate_predicted_corners": layers.edges[-1][:, None],
        "initial_reference_points": layers.frames[-1][:, None],
    }


def named_groups(outputs, head, cells, shapes):
    """As ``named_outputs``, of LW-DETR and RF-DETR."""
    if isinstance(outputs, MaskOutputs):
        masks = {
            "pred_masks": head.logits_of(outputs.masks[-1]),
            "enc_outputs_mask_logits": head.logits_of(outputs.cells),
        }
        return {**named_groups(outputs.groups, head, cells, shapes), **masks}
    layers = outputs.layers
    moves = head.enc_out_bbox_embed[0](tf.constant(cells))
    logits, decoded = tf.stack(layers.logits), tf.stack(layers.boxes)
    return {
        "enc_out_bbox_embed.0": moves,
        "enc_out_class_embed.0#1": outputs.cells.logits,
        "enc_outputs_coord_logits": outputs.cells.boxes,
        "init_reference_points": outputs.references,
        "intermediate_reference_points": outputs.references[None],
        "intermediate_hidden_states": tf.stack(layers.states),
        "logits": logits[-1],
        "pred_boxes": decoded[-1],
        "layers/logits": logits,
        "layers/pred_boxes": decoded,
    }


def place_of(name, special=()):
    """``(path of the layer, which of its outputs)`` of a golden's name, None for outputs of the model.

    Args:
        special: places of the family, before those of all.
    """
    for pattern, path, output in (*special, *LAYERS):
        match = re.match(pattern, name)
        if match:
            return match.expand(path), match.expand(output)
    return None


def output_of(recorder, path, output):
    """What a recorded layer gave at its first call, or None."""
    return dict(recorder.outputs.get(path, ())).get(output)


def error_of(golden, name, array):
    """The largest difference relative to the golden's largest value."""
    shape = golden.meta["arrays"][name]["shape"]
    if array is None:
        return float("inf")
    array = np.asarray(array)
    if array.ndim == 4 and list(array.shape) != shape:
        array = array.transpose(0, 3, 1, 2)
    if list(array.shape) != shape:
        return float("inf")
    error, scale = golden.error(name, array)
    return error / max(scale, 1e-12)


class chosen_queries:
    """Context in which a head takes the queries that the golden records.

    Attributes:
        share: of the queries that the head would have chosen otherwise; None where none are recorded.
        gap: largest distance between the scores of those that were exchanged.
    """

    def __init__(self, head, golden):
        self.head, self.wanted = head, golden.d.get("f/topk/0")
        self.share, self.gap = None, 0.0

    def __enter__(self):
        if self.wanted is not None:
            self.own = self.head.best_cells
            object.__setattr__(self.head, "best_cells", self.recorded)
        return self

    def recorded(self, scores):
        own, scores = np.asarray(self.own(scores)), np.asarray(scores)
        different = own != self.wanted
        self.share = float(different.mean())
        chosen, wanted = (np.take_along_axis(scores, rows, 1) for rows in (own, self.wanted))
        self.gap = float(np.abs(chosen - wanted)[different].max(initial=0.0))
        return tf.constant(self.wanted)

    def __exit__(self, *exc):
        if self.wanted is not None:
            self.head.__dict__.pop("best_cells", None)


def fit_to_golden(config, golden):
    """Makes a recipe that of a golden where the golden's model differs from the published one, in place.

    LW-DETR's goldens take the maps of the layers before those that the published weights were trained with;
    all outputs count as classes.
    """
    settings = golden.meta.get("config_dict", {}).get("backbone_config") or {}
    if settings.get("model_type") in ("lw_detr_vit", "rf_detr_dinov2"):
        config.override(
            {
                "model.num_classes": golden.meta["num_classes"],
                "model.backbone.layers_out": settings["out_indices"],
            }
        )
    return config


# losses of LW-DETR and RF-DETR, and the weights of which coefficient of their settings they have
LOSSES = (
    ("bbox", "bbox"),
    ("giou", "giou"),
    ("ce", "class"),
    ("mask_ce", "mask_class"),
    ("mask_dice", "mask_dice"),
)


def loss_weights(golden):
    """``[(pattern of names, weight)]`` of the losses that a golden has without their weights."""
    settings = golden.meta.get("config_dict", {})
    if settings.get("model_type") not in ("lw_detr", "rf_detr"):
        return []
    return [
        (rf"^loss_{name}(_|$)", settings[f"{key}_loss_coefficient"])
        for name, key in LOSSES
        if f"{key}_loss_coefficient" in settings
    ]
