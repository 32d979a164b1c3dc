"""Post-processing: candidates to detections."""

from kdet.postprocess.base import Suppression
from kdet.postprocess.candidates import PostProcess, ProposalSelection, keep_above, top_candidates, top_rows
from kdet.postprocess.nms import INVALID_SCORE, NMS, FastNMS, SoftNMS, pack_detections
from kdet.postprocess.queries import TopQueries

__all__ = [
    "FastNMS",
    "INVALID_SCORE",
    "NMS",
    "PostProcess",
    "ProposalSelection",
    "SoftNMS",
    "Suppression",
    "TopQueries",
    "keep_above",
    "pack_detections",
    "top_candidates",
    "top_rows",
]
