"""One model against one golden at inference: stages, RoI stages, detections, masks."""

import re
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from verification import inputs as parity_inputs
from verification import queries
from verification.matching import match_detections, match_masks
from verification.recorder import Recorder, match_rows, to_reference_layout

# DESIGN's tolerances; they are never widened
TOLERANCE = {
    "stage": 1e-4,
    "loss": 1e-4,
    "gradient": 1e-3,
    "detections": 0.01,
    "masks": 0.01,
    "panoptic": 1e-4,
}


# detectors that find masks alone
WITHOUT_BOXES = ("SOLO", "SOLOv2")


class Row(NamedTuple):
    """One line of the report: the worst error of a stage and whether it passes."""

    stage: str
    error: float
    passed: bool
    note: str = ""


def worst_row(stage, kind, errors, notes=None):
    """The row of a stage with many parts.

    Args:
        errors: ``{part: error}``; NaN counts as worse than anything.
        notes: remarks ``{part: str}``, by default the part's name.
    """
    errors = {k: float("inf") if np.isnan(v) else float(v) for k, v in errors.items()}
    worst = max(errors, key=errors.get, default="")
    error = errors.get(worst, 0.0)
    return Row(stage, error, error <= TOLERANCE[kind], (notes or {}).get(worst) or worst)


def info_of(golden, only=None):
    """ImageInfo of the golden's images, with their padded sizes."""
    metas = golden.meta["img_metas"][:only]
    scale = np.float32([m["scale_factor"] for m in metas])
    info = {
        "valid_size": np.float32([m["img_shape"][:2] for m in metas]),
        "padded_size": np.float32([m["pad_shape"][:2] for m in metas]),
        "original_size": np.float32([m["ori_shape"][:2] for m in metas]),
        "scale": scale[:, [1, 0]],
    }
    if "border" in metas[0]:
        info["border"] = np.float32([m["border"] for m in metas])
    info = {k: tf.constant(v) for k, v in info.items()}
    info["seed"] = tf.constant([0, 0])
    return info


def apply_test_settings(model, notes):
    """The golden's cheaper test settings (``test_cfg.rpn.max_per_img=300`` ...)."""
    for note in notes:
        path, value = note.split("=")
        if ".rpn." in path:
            model.rpn_head.test_proposals.max_per_image = int(value)
        elif ".rcnn." in path:
            model.roi_head.postprocess.max_per_image = int(value)
        elif path.endswith(".iou_thr"):
            model.panoptic_head.postprocess.overlap_threshold = float(value)
        elif path.endswith(".stuff_area_limit"):
            model.panoptic_fusion.stuff_area_limit = int(value)


def golden_images(golden):
    """The golden's normalized images as ``[2,H,W,3]``."""
    return tf.constant(golden.images().transpose(0, 2, 3, 1))


# ---- forward


def stage_rows(model, golden):
    """Outputs of every stage, RoI stage, and the detections (eager, so nothing is traced)."""
    names = [name for name in golden.sampled_names() if not name.startswith("pre/")]
    prefixes = dict.fromkeys(re.split(r"[/#]", n)[0] for n in names)
    roi = [p for p in prefixes if p.startswith("roi_head.")]
    outer = [p for p in prefixes if p not in roi]
    # these were recorded with the proposals of the model itself
    if golden.meta["model_type"] in ("SparseRCNN", "QueryInst", "CrowdDet"):
        outer, roi = outer + roi, []
    with Recorder(model, outer) as recorder, queries.chosen(model, golden):
        batches = detect(model, golden)
        detections = [next(batches)]  # of whose stages the golden's are
    rows = compare_outputs(golden, outer, recorder)
    if golden.meta["test_mode"] == "single":
        detections = list(detect_alone(model, golden))
    detections += batches
    if roi:
        features = model.extract_features(golden_images(golden))
        given = with_proposals(golden, info_of(golden))
        with Recorder(model, roi) as recorder:
            fixed = model.roi_head.predict(features, given["proposals"], given)
        rows += compare_outputs(golden, roi, recorder)
        if "f/fixed_det/0/boxes" in golden.d:
            rows.append(detection_row(golden, "fixed_det", [fixed]))
    rows.append(detection_row(golden, "det", detections))
    if "f/det/0/masks_packed" in golden.d:
        rows.append(mask_row(model, golden, detections))
    if "f/pan/0/map" in golden.d:
        rows.append(panoptic_row(model, golden, detections))
    return rows


def detect(model, golden):
    """The model's detections, batch by batch: both images, or each alone where the golden's were."""
    images, info = golden_images(golden), info_of(golden)
    if golden.meta["model_type"] == "FastRCNN":
        info = with_proposals(golden, info)
    if golden.meta["test_mode"] != "per_image":
        yield model.detect(images, info)
        return
    for i in range(len(images)):
        yield model.detect(
            images[i : i + 1], {k: v if k == "seed" else v[i : i + 1] for k, v in info.items()}
        )


def detect_alone(model, golden):
    """Detections of each image on the canvas that it has by itself (``test_mode`` "single")."""
    images, info = golden_images(golden), info_of(golden)
    for i, meta in enumerate(golden.meta["img_metas"]):
        h, w = meta["pad_shape"][:2]
        yield model.detect(
            images[i : i + 1, :h, :w],
            {k: v if k == "seed" else v[i : i + 1] for k, v in info.items()},
        )


def end_row(model, golden):
    """The row of the detections alone."""
    alone = golden.meta["test_mode"] == "single"
    return detection_row(golden, "det", list((detect_alone if alone else detect)(model, golden)))


def with_proposals(golden, info):
    """ImageInfo with the golden's fixed proposals."""
    boxes = np.stack([p[:, :4] for p in golden.proposals()])
    return {**info, "proposals": tf.constant(boxes)}


def compare_outputs(golden, prefixes, recorder):
    """One row per recorded layer: the worst of its outputs."""
    rows = []
    for prefix in prefixes:
        if prefix in recorder.missing:
            rows.append(Row(prefix, float("inf"), False, "the model has no such layer"))
            continue
        errors, remarks = {}, {}
        for name in (n for n in golden.sampled_names() if re.split(r"[/#]", n)[0] == prefix):
            errors[name], remarks[name] = output_error(golden, name, recorder)
        rows.append(worst_row(prefix, "stage", errors, remarks))
    return rows


def output_error(golden, name, recorder):
    """Largest difference of one output, relative to the golden's largest value; and a remark."""
    call, _, sub = name.partition("/")
    recorded = dict(recorder.outputs.get(call, ()))
    path = f"/{sub}" if sub else ""
    # heads of a single level need not return a list of one
    array = recorded.get(path, recorded.get(path.removesuffix("/0")))
    if array is None and (image := re.fullmatch(r"/0/(\d+)", path)) and "" in recorded:
        array = recorded[""][int(image[1])]  # the reference's list over the images
    if array is None:
        return float("inf"), f"{name} was not computed"
    shape = golden.meta["arrays"][name]["shape"]
    recorded_shape = array.shape
    array = queries.form_of(golden, name, array)
    array = to_reference_layout(array, shape, roi_rows(golden, call, recorder, shape))
    if array is None:
        return float("inf"), f"{name}: golden {shape}, ours {recorded_shape}"
    error, scale = golden.error(name, array)
    if "point_head" in call:
        error = points_error(golden, name, array)
    return error / max(scale, 1e-12), ""


def points_error(golden, name, array, reach=8):
    """As ``Golden.error`` of outputs ``[R,C,P]`` at points in the order of their uncertainty.

    Points that are as uncertain as each other may change places, by up to ``reach``.
    """
    wanted = golden.d[f"s/{name}"]
    rows = parity_inputs.sample_indices(array.size, wanted.size)
    shifts = (np.roll(array, shift, axis=-1).ravel()[rows] for shift in range(-reach, reach + 1))
    return float(np.min([np.abs(x - wanted) for x in shifts], axis=0).max())


def roi_rows(golden, call, recorder, shape):
    """Which of our RoIs each of the golden's is, for the outputs of RoI layers."""
    if not call.startswith("roi_head."):
        return None
    if call in recorder.rois and f"f/{call}/rois" in golden.d:
        return match_rows(golden.full(f"{call}/rois"), recorder.rois[call])[0]
    number = re.search(r"\.\d+|#\d+", call)
    stem = re.match(r"roi_head\.([a-z]+)_", call)
    stem = stem.group(1) if stem else "mask"
    extractors = [e for e in recorder.rois if f"f/{e}/rois" in golden.d]
    # the extractor of the same branch and stage first, then that of the masks
    extractors.sort(
        key=lambda e: (stem not in e, number is not None and number.group() not in e, "mask" not in e)
    )
    for extractor in extractors:
        wanted = golden.full(f"{extractor}/rois")
        # some heads go over the images one by one; their first calls are those of the first image
        if shape[0] in (len(wanted), int((wanted[:, 0] == 0).sum())):
            return match_rows(wanted[: shape[0]], recorder.rois[extractor])[0]
    return None


def detections_of(detections, image):
    """Boxes, scores, labels and masks of one image from one batch, or from batches of one."""
    batch = detections[0] if len(detections) == 1 else detections[image]
    index = image if len(detections) == 1 else 0
    count = int(batch["num_detections"][index])
    rows = {k: np.asarray(v[index]) for k, v in batch.items() if k != "num_detections"}
    return {k: v if k == "panoptic" or k.startswith("segment_") else v[:count] for k, v in rows.items()}


def matched(golden, key, image, ours):
    """Our row of each of the golden's detections of an image, or -1.

    What SOLO finds has no boxes in the reference: class, score and area of the mask say which is which.
    """
    boxes, labels = golden.full(f"{key}/{image}/boxes"), golden.full(f"{key}/{image}/labels")
    if golden.meta["model_type"] not in WITHOUT_BOXES:
        return match_detections(boxes, labels, ours)
    areas = golden.full(f"{key}/{image}/mask_areas")
    return match_masks(areas, boxes[:, 4], labels, ours)


def detection_row(golden, key, detections):
    """Share of the golden's detections that have no match (and of ours beyond its number)."""
    missed = total = 0
    for i in range(2):
        boxes = golden.full(f"{key}/{i}/boxes")
        ours = detections_of(detections, i)
        # a golden may hold the best of many only
        limit = golden.meta["ndet"][i] if golden.meta["format"] >= 3 else len(boxes)
        matches = matched(golden, key, i, ours)
        missed += int((matches < 0).sum())
        if key == "det":
            missed += max(0, len(ours["boxes"]) - limit)
        total += len(boxes)
    note = f"{total - missed}/{total} matched"
    return worst_row(key, "detections", {"unmatched": missed / max(total, 1)}, {"unmatched": note})


def mask_row(model, golden, detections):
    """1 - IoU of the worst stored mask."""
    worst, count = 0.0, 0
    for i, meta in enumerate(golden.meta["img_metas"]):
        if f"f/det/{i}/masks_packed" not in golden.d:
            continue
        h, w = meta["ori_shape"][:2]
        packed = golden.full(f"det/{i}/masks_packed")
        wanted = np.unpackbits(packed, axis=-1)[..., :w].astype(bool)
        ours = detections_of(detections, i)
        matches = matched(golden, "det", i, ours)
        masks = model.image_masks({**ours, "num_detections": len(ours["boxes"])}, h, w)
        for mask, match in zip(wanted, matches):
            if match < 0:
                worst = 1.0
                continue
            mine = masks[match]
            union = (mask | mine).sum()
            worst = max(worst, 1.0 - (mask & mine).sum() / union if union else 0.0)
            count += 1
        if f"f/det/{i}/mask_scores" in golden.d:
            scores = golden.full(f"det/{i}/mask_scores")[matches >= 0]
            worst = max(worst, np.abs(ours["mask_scores"][matches[matches >= 0]] - scores).max(initial=0.0))
    return worst_row("masks", "masks", {"worst": worst}, {"worst": f"{count} masks"})


def panoptic_row(model, golden, detections):
    """Share of the pixels that belong to another segment than in the golden, in the worse image."""
    errors, notes = {}, {}
    for i in range(len(golden.meta["img_metas"])):
        wanted = golden.full(f"pan/{i}/map")
        ours = reference_map(detections_of(detections, i), model.num_classes, model.num_stuff)
        different = ours[: wanted.shape[0], : wanted.shape[1]] != wanted
        errors[str(i)] = float(different.mean())
        notes[str(i)] = f"{int(different.sum())} of {different.size} pixels"
    return worst_row("panoptic", "panoptic", errors, notes)


def reference_map(found, num_classes, num_stuff):
    """A panoptic map as MMDetection writes it: class + 1000 * number among the things, void at the end."""
    things, codes = 0, [num_classes]
    for label in found["segment_labels"]:
        things += 0 <= label < num_classes - num_stuff
        codes.append(int(label) + 1000 * things if label < num_classes - num_stuff else int(label))
    return np.asarray(codes)[found["panoptic"]]
