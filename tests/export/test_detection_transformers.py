"""D-FINE in ONNX: points of several levels, distributions and queries are ops that every runtime has."""

import pytest

from kdet.heads.query import DFineDecoder
from kdet.necks import DFineEncoder
from tests.heads.test_dfine import neck, small

pytest.importorskip("onnxruntime", reason="an optional library of kdet's exports")


def test_an_onnx_file_detects_what_the_model_does(tmp_path):
    # the export runs the file and refuses one that gives other detections
    written = small(DFineDecoder, neck(DFineEncoder)).export(tmp_path / "m.onnx", "onnx", input_size=(64, 96))
    assert written.stat().st_size > 10_000
