"""The contract of ``kdet.parity.contract`` on small variants that together use every kind of part."""

import os

import pytest

from kdet.config import Config, recipes
from kdet.parity.contract import CONTRACT, Subject
from kdet.slim import slim

SHORT = [
    "retinanet_r50_fpn_1x",
    "fcos_r50_caffe_fpn_gn-head_1x",
    "gfl_r50_fpn_1x",
    "mask_rcnn_r50_fpn_1x",
    "fast_rcnn_r50_fpn_1x",
    "rpn_r50_fpn_1x",
    "cascade_mask_rcnn_r50_fpn_1x",
    "htc_r50_fpn_1x",
    "point_rend_r50_caffe_fpn_mstrain_1x",
    "reppoints_moment_r50_fpn_1x",
    "yolov3_d53_320_273e",
    "yolact_r50_1x8",
    "cornernet_hourglass104_mstest_8x6_210e",
    "detr_r50_8x2_150e",
    "deformable_detr_twostage_refine_r50_16x2_50e",
    "sparse_rcnn_r50_fpn_1x",
    "tridentnet_r50_caffe_1x",
    "ld_r18_gflv1_r101_fpn_coco_1x",
]
ALL = bool(os.environ.get("KDET_ALL_MODELS"))


@pytest.fixture(scope="module", params=sorted(recipes()) if ALL else SHORT)
def subject(request):
    return Subject(slim(Config.load(request.param)))


@pytest.mark.parametrize("clause", CONTRACT, ids=lambda clause: clause.__name__)
def test_holds(subject, clause):
    clause(subject)
