"""What is compared of a detector and its ONNX model when neither finds anything: what their networks compute.

See `kdet.export.network_outputs`, which does so for TFLite.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from kdet.export.network_outputs import apart, values
from kdet.export.packages import needed
from kdet.export.program import ExportError
from kdet.typing import Array


def compare_networks(
    title: str,
    proto: Any,
    traced: Any,
    probes: Mapping[str, tuple[Any, bool]],
    runner: Callable[[Any], Callable[..., dict[str, Array]]],
    limit: float,
    images: Array,
    **proposals: Array,
) -> float:
    """Compares tensors inside of an ONNX model with those of the trace that it was made of.

    Args:
        title: of the exported model, for the error.
        proto: ``onnx.ModelProto``.
        traced: ``ConcreteFunction``.
        probes: of the converter: name in the model -> (tensor of the trace, whether it is ``[B,C,H,W]``).
        runner: makes a function of images of a model.
        limit: largest difference of a tensor, as a share of its size (both as root mean squares).
        images, proposals: inputs of both.

    Returns:
        The largest difference.

    Raises:
        ExportError: beyond the limit, or there is nothing to compare.
    """
    helper = needed("onnx", "onnx").helper
    wider = type(proto)()
    wider.CopyFrom(proto)
    wider.graph.output.extend(helper.make_tensor_value_info(name, 1, None) for name in probes)
    got = runner(wider)(images, **proposals)
    wanted = values(
        traced, {name: [tensor] for name, (tensor, _) in probes.items()}, [images, *proposals.values()]
    )
    found = {}
    for name, (_, channels_first) in probes.items():
        value = np.moveaxis(got[name], 1, -1) if channels_first else got[name]
        found[name] = apart(value.ravel(), wanted[name][0])
    if not found:
        raise ExportError(
            f"{title} finds nothing on these images, and there is no layer to compare instead. It was not "
            "written. The way out: representative=[images with objects], or check=False."
        )
    worst = max(found, key=lambda name: np.nan_to_num(found[name], nan=np.inf))
    if not found[worst] <= limit:
        raise ExportError(
            f"{title} differs from the model at {worst} by {found[worst]:.2%} (allowed: {limit:.2%}). It was "
            "not written."
        )
    return found[worst]
