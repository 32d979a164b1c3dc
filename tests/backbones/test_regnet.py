"""RegNet's widths follow from four numbers."""

import pytest

from kdet.backbones.regnet import ARCHITECTURES, RegNet, stage_widths


@pytest.mark.parametrize(
    ("arch", "channels", "blocks"),
    [
        ("regnetx_800mf", [64, 128, 288, 672], [1, 3, 7, 5]),
        ("regnetx_3.2gf", [96, 192, 432, 1008], [2, 6, 15, 2]),
        ("regnetx_8.0gf", [80, 240, 720, 1920], [2, 5, 15, 1]),
    ],
)
def test_stage_widths_are_the_published_ones(arch, channels, blocks):
    assert stage_widths(*ARCHITECTURES[arch]) == list(zip(channels, blocks))


def test_unknown_architectures_are_named():
    with pytest.raises(ValueError, match="regnetx_9gf.*regnetx_12gf"):
        RegNet("regnetx_9gf")
