"""The contract of ``verification.contract`` on small variants that together use every kind of part.

All recipes: ``KDET_ALL_MODELS=1 pytest tests/zoo``, or in processes of their own with a report by
``verification/check_models.py``.
"""

import os

import pytest

from kdet.config import Config, recipes
from verification.contract import CONTRACT, Subject
from verification.small import small_variant

SHORT = (
    "retinanet_r50_fpn_1x",
    "fcos_r50_caffe_fpn_gn-head_1x",
    "reppoints_moment_r50_fpn_1x",
    "ld_r18_gflv1_r101_fpn_coco_1x",
    "yolov3_d53_320_273e",
    "yolact_r50_1x8",
    "cornernet_hourglass104_mstest_8x6_210e",
    "rpn_r50_fpn_1x",
    "fast_rcnn_r50_fpn_1x",
    "mask_rcnn_r50_fpn_1x",
    "htc_r50_fpn_1x",
    "deformable_detr_twostage_refine_r50_16x2_50e",
    "sparse_rcnn_r50_fpn_1x",
    "yolox_tiny_8x8_300e",
    "tood_r50_fpn_1x",
    "centernet_resnet18_dcnv2_140e",
    "rtdetr_r18vd_6x",
    "dfine_n",
    "lwdetr_tiny_60e",
    "rfdetr_nano",
    "rfdetr-seg_nano",
    "dino-4scale_r50_12e",
    "rtmdet-ins_tiny_300e",
    "condinst_r50_fpn_ms-poly-90k",
    "crowddet-rcnn_refine_r50_fpn_30e_crowdhuman",
)
pytestmark = pytest.mark.usefixtures("with_grappler")
NAMES = sorted(recipes()) if os.environ.get("KDET_ALL_MODELS") else SHORT


@pytest.fixture(scope="module", params=NAMES)
def subject(request):
    return Subject(small_variant(Config.load(request.param)))


@pytest.mark.parametrize("clause", CONTRACT, ids=lambda clause: clause.__name__)
def test_holds(subject, clause):
    assert clause(subject) > 0, "nothing to look at"
