"""Classification networks of other releases become the state-dicts of kdet's backbones."""

import numpy as np
import pytest

from kdet.backbones import (
    EfficientNet,
    PyramidVisionTransformer,
    PyramidVisionTransformerV2,
    SwinTransformer,
)
from kdet.convert import pretrained, state_dict
from kdet.convert.foreign import adapted
from kdet.convert.pth_writer import write_pth

SMALL = {"embed_dims": 8, "depths": [1, 1, 1, 1]}


def drawn(*shape):
    return np.random.default_rng(sum(shape)).normal(size=shape).astype(np.float32)


def test_swin_merges_pixels_in_another_order():
    state = {
        "layers.0.blocks.0.attn.relative_position_bias_table": drawn(169, 3),
        "layers.0.blocks.0.attn.relative_position_index": np.zeros([49, 49], np.int64),
        "layers.0.blocks.0.mlp.fc1.weight": drawn(8, 2),
        "layers.0.blocks.0.mlp.fc2.bias": drawn(2),
        "layers.0.downsample.norm.weight": np.float32([0, 10, 1, 11, 2, 12, 3, 13]),
        "layers.0.downsample.reduction.weight": np.float32([[0, 10, 1, 11, 2, 12, 3, 13]]),
        "patch_embed.proj.weight": drawn(2, 3, 4, 4),
        "head.weight": drawn(5, 2),
    }
    found = adapted(state)
    assert set(found) == {
        "stages.0.blocks.0.attn.w_msa.relative_position_bias_table",
        "stages.0.blocks.0.ffn.layers.0.0.weight",
        "stages.0.blocks.0.ffn.layers.1.bias",
        "stages.0.downsample.norm.weight",
        "stages.0.downsample.reduction.weight",
        "patch_embed.projection.weight",
    }
    # pixels 0 to 3 lie left above, left below, right above, right below
    wanted = [0, 2, 1, 3, 10, 12, 11, 13]
    assert found["stages.0.downsample.norm.weight"].tolist() == wanted
    assert found["stages.0.downsample.reduction.weight"].tolist() == [wanted]


def original_pvt(backbone, second):
    """The state of a PVT in the names of its first release."""
    names = {".0.projection.": "patch_embed{}.proj.", ".0.norm.": "patch_embed{}.norm.", ".2.": "norm{}."}
    state, first = {}, 0 if second else 1
    for name, array in state_dict(backbone).items():
        stage, rest = int(name.split(".")[1]) + 1, name.split(".", 2)[2]
        block = rest.split(".")
        if rest.endswith("pos_embed"):
            extra = np.zeros([1, 1, array.shape[2]], np.float32) if stage == 4 else array[:, :0]
            state[f"pos_embed{stage}"] = np.concatenate([extra, array], 1)
        elif block[0] != "1":
            start = next(start for start in names if f".{rest}".startswith(start))
            state[f".{rest}".replace(start, names[start].format(stage))] = array
        else:
            old = f"block{stage}.{int(block[1]) - first}." + ".".join(block[2:])
            if ".in_proj_" in old:
                split = len(array) // 3
                start = old.split(".attn.attn")[0]
                state[f"{start}.attn.q.{old.rpartition('_')[2]}"] = array[:split]
                state[f"{start}.attn.kv.{old.rpartition('_')[2]}"] = array[split:]
                continue
            old = old.replace(".attn.attn.out_proj.", ".attn.proj.").replace(".ffn.layers.0.", ".mlp.fc1.")
            old = old.replace(".ffn.layers.1.", ".mlp.dwconv.dwconv.")
            old = old.replace(f".ffn.layers.{4 if second else 3}.", ".mlp.fc2.")
            state[old] = array[..., 0, 0] if ".mlp.fc" in old and array.ndim == 4 else array
    return state | {"cls_token": drawn(1, 1, 8), "head.weight": drawn(4, 8)}


@pytest.mark.parametrize("second", [False, True])
def test_pvt_fills_its_backbone(second, tmp_path):
    kind = PyramidVisionTransformerV2 if second else PyramidVisionTransformer
    source, target = kind(**SMALL), kind(**SMALL)
    for backbone in (source, target):
        backbone(np.zeros([1, 32, 32, 3], np.float32))
    write_pth(tmp_path / "pvt.pth", original_pvt(source, second))
    report = pretrained.load_pretrained(target, tmp_path / "pvt.pth")
    assert not report.unfilled and not report.left_over
    for name, array in state_dict(target).items():
        np.testing.assert_array_equal(array, state_dict(source)[name])


def test_timm_names_blocks_in_seven_groups():
    state = {
        "conv_stem.weight": drawn(4, 3, 3, 3),
        "bn1.bias": drawn(4),
        "conv_head.weight": drawn(9, 5, 1, 1),
    }
    for group, number in ((0, 0), (3, 0), (3, 1), (4, 0), (6, 0), (5, 0)):
        state[f"blocks.{group}.{number}.conv_pw.weight"] = drawn(5, 4, 1, 1)
        state[f"blocks.{group}.{number}.bn2.weight"] = drawn(5)
    found = adapted(state)
    assert set(found) == {
        "layers.0.conv.weight",
        "layers.0.bn.bias",
        "layers.1.0.linear_conv.conv.weight",
        "layers.1.0.linear_conv.bn.weight",
        *(f"layers.{p}.expand_conv.conv.weight" for p in ("4.0", "4.1", "4.2", "5.0", "5.1")),
        *(f"layers.{p}.depthwise_conv.bn.weight" for p in ("4.0", "4.1", "4.2", "5.0", "5.1")),
    }


def test_moco_has_its_encoder_within_others_and_the_rest_is_unchanged():
    state = {
        "encoder_q.conv1.weight": drawn(2, 3, 7, 7),
        "encoder_k.conv1.weight": drawn(1),
        "queue": drawn(2),
    }
    assert set(adapted(state)) == {"conv1.weight"}
    plain = {"conv1.weight": drawn(2, 3, 7, 7)}
    assert adapted(plain) is plain


def test_stages_that_a_backbone_lacks_are_left_out(tmp_path):
    backbone = EfficientNet("b0", out_indices=(1, 2))
    backbone(np.zeros([1, 32, 32, 3], np.float32))
    state = {f"backbone.{name}": array for name, array in state_dict(backbone).items()}
    write_pth(
        tmp_path / "b0.pth", {"state_dict": state | {"backbone.layers.6.conv.weight": drawn(4, 2, 1, 1)}}
    )
    assert not pretrained.load_pretrained(backbone, tmp_path / "b0.pth").left_over


def test_norms_behind_outputs_start_afresh(tmp_path):
    backbone = SwinTransformer(8, [1, 1, 1, 1], [1, 1, 1, 1], window_size=2)
    backbone(np.zeros([1, 32, 32, 3], np.float32))
    state = {name: array for name, array in state_dict(backbone).items() if not name.startswith("norm")}
    write_pth(tmp_path / "swin.pth", {"state_dict": state})
    report = pretrained.load_pretrained(backbone, tmp_path / "swin.pth")
    assert {name.split(".")[0] for name in report.unfilled} == {"norm0", "norm1", "norm2", "norm3"}
