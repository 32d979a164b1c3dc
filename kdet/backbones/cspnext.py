"""CSPNeXt, the backbone of RTMDet (Lyu et al., 2022, arXiv:2212.07784)."""

from collections.abc import Sequence
from typing import Any

from kdet.backbones.csp_darknet import CrossStageBackbone, SpatialPyramidPooling
from kdet.layers import CSPNeXtLayer, swish_conv
from kdet.registry import register
from kdet.typing import Norm

# channels of the stem and of each stage, and blocks of each stage, before the factors
ARCHITECTURES = {
    "p5": ((64, 128, 256, 512, 1024), (3, 6, 6, 3)),
    "p6": ((64, 128, 256, 512, 768, 1024), (3, 6, 6, 3, 3)),
}


@register
class CSPNeXt(CrossStageBackbone):
    """Three convolutions, and stages of cross stage partial layers with large depthwise convolutions.

    Args:
        arch: "p5" (four stages, up to stride 32) or "p6" (five, up to 64).
        depth_factor: of the blocks in every stage (3, 6, 6, 3; 3, 6, 6, 3, 3).
        width_factor: of the channels of stem and stages (64, 128, 256, 512, 1024; P6 has 768 before 1024).
        out_indices: stages whose maps are returned; 0 is the stem.
        norm: spec of all norms.
        pretrained: name or address of the ImageNet weights for ``weights="imagenet"``.

    Call: ``[B,H,W,3] -> tuple of [B,h,w,C]``, one per ``out_indices``, fine to coarse; sizes are rounded up.
    """

    def __init__(
        self,
        arch: str = "p5",
        depth_factor: float = 1.0,
        width_factor: float = 1.0,
        out_indices: Sequence[int] = (2, 3, 4),
        norm: Norm = "bn",
        pretrained: str | None = None,
        **kwargs: Any,
    ) -> None:
        if arch not in ARCHITECTURES:
            raise ValueError(f"CSPNeXt: arch {arch!r} is unknown, choose one of {sorted(ARCHITECTURES)}.")
        widths, depths = ARCHITECTURES[arch]
        channels = [int(width * width_factor) for width in widths]
        half = int(widths[0] * width_factor // 2)
        stem = [
            swish_conv(3, half, 3, stride=2, norm=norm),
            swish_conv(half, half, 3, norm=norm),
            swish_conv(half, channels[0], 3, norm=norm),
        ]
        stages = []
        for i, base in enumerate(depths, start=1):
            before, filters, last = channels[i - 1], channels[i], i == len(depths)
            depth = max(round(base * depth_factor), 1)
            steps: list[Any] = [swish_conv(before, filters, 3, stride=2, norm=norm)]
            if last:
                steps.append(SpatialPyramidPooling(filters, norm))
            steps.append(CSPNeXtLayer(filters, filters, depth, shortcut=not last, attention=True, norm=norm))
            stages.append(steps)
        super().__init__(stem, stages, channels, out_indices, **kwargs)
        self.pretrained = pretrained
