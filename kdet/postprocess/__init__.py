"""Post-processing: candidates to detections."""

from kdet.postprocess.base import Suppression
from kdet.postprocess.candidates import PostProcess, ProposalSelection, keep_above, top_candidates, top_rows
from kdet.postprocess.matrix_nms import MatrixNMS
from kdet.postprocess.nms import INVALID_SCORE, NMS, FastNMS, SoftNMS, pack_detections
from kdet.postprocess.queries import TopQueries
from kdet.postprocess.set_nms import SetNMS

__all__ = [
    "FastNMS",
    "INVALID_SCORE",
    "MatrixNMS",
    "NMS",
    "PostProcess",
    "ProposalSelection",
    "SetNMS",
    "SoftNMS",
    "Suppression",
    "TopQueries",
    "keep_above",
    "pack_detections",
    "top_candidates",
    "top_rows",
]
