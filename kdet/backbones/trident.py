"""TridentNet's ResNet (Li et al., 2019): the third stage at three dilations with one set of weights."""

import tensorflow as tf

from kdet import ops
from kdet.backbones.resnet import DEPTHS, ResNet, make_stage, with_running_stats
from kdet.layers import Conv2D, register_conv, sequence
from kdet.registry import register


@register_conv("trident")
@register
class TridentConv(Conv2D):
    """A convolution that treats parts of its batch at different dilations.

    Args:
        branches: dilation of each part in training; the batch is cut into that many equal parts.
        test_branch: index of the dilation that all pictures get at inference.
        other arguments: as in ``Conv2D``; its own dilation and padding are not used.

    Call: ``[B,H,W,C] -> [B,H',W',filters]``.
    """

    def __init__(self, filters, kernel_size, branches=(1, 2, 3), test_branch=1, **kwargs):
        super().__init__(filters, kernel_size, **kwargs)
        self.branches, self.test_branch = tuple(branches), test_branch

    def call(self, x, training=False):
        kernel = tf.cast(self.kernel, x.dtype)

        def branch(part, rate):
            return ops.grouped_conv2d(part, kernel, self.stride, (rate, rate), (rate, rate), 1)

        if not training:
            return self.add_bias(branch(x, self.branches[self.test_branch]))
        parts = tf.split(x, len(self.branches))
        return self.add_bias(tf.concat([branch(*pair) for pair in zip(parts, self.branches)], 0))


@register
class TridentResNet(ResNet):
    """ResNet up to its third stage, whose 3x3 convolutions have one dilation per branch.

    In training every picture goes through all branches: the output's batch holds all pictures of the first
    branch, then all of the second ... At inference only ``test_branch`` runs.

    Args:
        branches, test_branch: see ``TridentConv``.
        other arguments: see ``ResNet``.

    Call: ``[B,H,W,3] -> ([B or branches*B,H/16,W/16,1024],)``.
    """

    def __init__(
        self,
        depth=50,
        branches=(1, 2, 3),
        test_branch=1,
        style="pytorch",
        frozen_stages=-1,
        norm="bn",
        norm_eval=True,
        pretrained=None,
        **kwargs,
    ):
        super().__init__(
            depth=depth,
            num_stages=2,
            out_indices=(1,),
            style=style,
            frozen_stages=frozen_stages,
            norm=norm,
            norm_eval=norm_eval,
            pretrained=pretrained,
            **kwargs,
        )
        self.branches = len(branches)
        bottleneck, blocks = DEPTHS[depth]
        if not bottleneck:
            raise ValueError(f"TridentResNet: depth {depth} has no 1x1, 3x3, 1x1 blocks; use 50 or more.")
        norm = with_running_stats(norm, norm_eval)
        self.layer3 = make_stage(
            self.block_classes[1], 256, blocks[2], 2, 1, 512, norm,
            middle_conv={"kind": "trident", "branches": tuple(branches), "test_branch": test_branch},
            last_norm={**norm, "gamma_initializer": "zeros"},
            **self.bottleneck_arguments(256, 1, 64, 64),
        )  # fmt: skip
        self.feature_info = [(1024, 16)]

    def call(self, x, training=False):
        x = super().call(x, training=training)[-1]
        if training:
            x = tf.tile(x, [self.branches, 1, 1, 1])
        return (sequence(self.layer3, x),)
