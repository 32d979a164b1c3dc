import numpy as np

from kdet import ops


def test_equals_the_reference(golden):
    case = golden("fast_nms")
    indices, labels, scores, num = ops.fast_nms(
        case["boxes"][None],
        case["scores"][None],
        iou_threshold=0.5,
        score_threshold=0.2,
        top_k=20,
        max_output=100,
    )
    count = len(case["found"])
    assert int(num[0]) == count
    np.testing.assert_array_equal(indices[0, :count], case["kept"])
    np.testing.assert_array_equal(labels[0, :count], case["labels"])
    np.testing.assert_allclose(scores[0, :count], case["found"][:, 4])
    assert not np.any(scores[0, count:])
