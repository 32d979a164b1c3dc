"""D-FINE and DEIMv2 in small: distributions, losses, shared parts, names of both libraries."""

import re

import numpy as np
import pytest
import tensorflow as tf

from kdet import convert
from kdet.assigners import HungarianAssigner
from kdet.backbones import DINOv3Adapter, HGNetV2
from kdet.contract import Assignment
from kdet.convert import original_names
from kdet.convert.safetensors import write_safetensors
from kdet.detectors import DetectionTransformer, Preprocessor
from kdet.heads.query import DEIMv2Decoder, DFineDecoder, DFineHead, DistributionCriterion
from kdet.heads.query.denoising import ContrastiveDenoising
from kdet.heads.query.dfine_decoder import bin_places, boxes_of
from kdet.heads.query.distribution_criterion import edge_distances, soft_bins
from kdet.losses import GIoULoss, L1Loss, MatchabilityAwareLoss, MatchedVarifocalLoss
from kdet.necks import DEIMv2Encoder, DEIMv2LiteEncoder, DFineEncoder
from tests.heads.test_rtdetr import INFO, TARGETS


def small(decoder, neck, mal=False, **kwargs):
    """A detector of 16 channels on the last stages of a small backbone."""
    lite = isinstance(neck, DEIMv2LiteEncoder)
    return DetectionTransformer(
        backbone=HGNetV2(
            stem_channels=(8, 8),
            inner_channels=(4, 4, 8, 8),
            out_channels=(8, 16, 16, 32),
            blocks=(1, 1, 2, 1),
            depth=2,
            out_indices=(3,) if lite else (2, 3),
            affine=True,
            norm={"kind": "bn", "trainable": False},
        ),
        neck=neck,
        bbox_head=DFineHead(
            num_classes=3,
            num_queries=6,
            num_levels=2,
            projected=False,
            decoder=decoder(
                num_classes=3,
                units=16,
                num_heads=2,
                ffn_units=16,
                num_layers=3,
                points=(2, 3),
                bins=8,
                **kwargs,
            ),
            denoising=ContrastiveDenoising(num_queries=4),
            criterion=DistributionCriterion(
                assigner=HungarianAssigner(2.0, 5.0, 2.0, focal=True),
                loss_cls=MatchabilityAwareLoss() if mal else MatchedVarifocalLoss(),
                loss_bbox=L1Loss(loss_weight=5.0),
                loss_iou=GIoULoss(loss_weight=2.0),
                term="mal" if mal else "vfl",
                union=mal,
            ),
        ),
        preprocessor=Preprocessor([0.0] * 3, [255.0] * 3, size=(96, 64), keep_ratio=False),
    )


def neck(cls):
    return cls(2, 16, num_heads=2, ffn_units=16, blocks=1, expansion=0.5)


@pytest.fixture(scope="module")
def dfine():
    return small(DFineDecoder, neck(DFineEncoder))


@pytest.fixture(scope="module")
def deim():
    return small(DEIMv2Decoder, neck(DEIMv2Encoder), mal=True)


@pytest.fixture(scope="module")
def lite():
    return small(DEIMv2Decoder, DEIMv2LiteEncoder(16, 1, 0.5), mal=True, gated=False, shared_edges=True)


@pytest.fixture(scope="module")
def images():
    return tf.constant(np.random.default_rng(0).normal(size=(2, 64, 96, 3)), tf.float32)


def test_bins_are_dense_in_the_middle():
    places = bin_places(32, tf.constant([0.5]), tf.constant([4.0])).numpy()
    assert len(places) == 33 and places[16] == 0.0
    np.testing.assert_allclose(places, -places[::-1], atol=1e-6)
    np.testing.assert_allclose(places[[-1, -2]], [4.0, 2.0], rtol=1e-5)
    assert np.all(np.diff(np.diff(places[16:])) > 0)


def test_distances_and_boxes_are_inverse():
    random = np.random.default_rng(0)
    frames = tf.constant(random.uniform(0.2, 0.8, (5, 4)), tf.float32)
    corners = tf.constant(random.uniform(0, 1, (5, 4)), tf.float32)
    boxes = boxes_of(frames, edge_distances(frames, corners, 4.0), 4.0)
    found = tf.concat([boxes[:, :2] - boxes[:, 2:] / 2, boxes[:, :2] + boxes[:, 2:] / 2], -1)
    np.testing.assert_allclose(found, corners, atol=1e-5)


def test_a_distance_is_a_mean_of_its_two_bins():
    places = tf.constant([-4.0, -1.0, 0.0, 1.0, 4.0])
    soft = soft_bins(tf.constant([-9.0, -1.0, 0.25, 2.5, 9.0]), places).numpy()
    np.testing.assert_allclose(soft.sum(-1), 1.0)
    np.testing.assert_allclose(soft @ places.numpy(), [-4.0, -1.0, 0.25, 2.5, 4.0])
    assert (np.count_nonzero(soft, axis=-1) <= 2).all()


def test_the_union_of_matches_takes_what_most_layers_say():
    ones = tf.ones([1, 4])
    layers = [
        Assignment(tf.constant([row]), ones) for row in ([0, -1, 1, -1], [0, 1, -1, -1], [1, 0, -1, -1])
    ]
    criterion = DistributionCriterion(
        assigner=HungarianAssigner(focal=True),
        loss_cls=MatchabilityAwareLoss(),
        loss_bbox=L1Loss(),
        loss_iou=GIoULoss(),
        union=True,
    )
    found = criterion.for_boxes(layers, {"labels": tf.constant([[0, 0]])})
    assert len(found) == 3 and found[0].gt_index.numpy().tolist() == [[0, 0, 1, -1]]


@pytest.mark.parametrize("name", ["dfine", "deim", "lite"])
def test_losses_of_all_layers(name, request, images):
    model = request.getfixturevalue(name)
    with tf.GradientTape() as tape:
        losses = model.forward_losses(images, INFO, TARGETS)
        total = tf.add_n(list(losses.values()))
    term = "loss_vfl" if name == "dfine" else "loss_mal"
    both = {"loss_fgl", "loss_ddf"}
    ends = {
        "": set(),
        "_aux_0": both,
        "_aux_1": both,
        "_aux_2": set(),
        "_dn_0": both,
        "_dn_1": both,
        "_dn_2": both,
    }
    wanted = {one + end for end, more in ends.items() for one in {term, "loss_bbox", "loss_giou", *more}}
    assert set(losses) == wanted and all(np.isfinite(value) for value in losses.values())
    assert losses["loss_ddf_dn_2"] == 0.0  # the last layer is the teacher
    gradients = tape.gradient(total, model.trainable_variables)
    assert not [v.path for v, g in zip(model.trainable_variables, gradients) if g is None]


def test_it_detects_in_a_graph_as_outside_of_one(dfine):
    images = np.random.default_rng(0).integers(0, 256, (1, 64, 96, 3), np.uint8)
    inside, outside = dfine.predict_on_batch(tf.constant(images)), dfine(tf.constant(images))
    np.testing.assert_allclose(inside["scores"], outside["scores"], atol=1e-4)


def test_shared_layers_stand_under_all_names(lite):
    slots = convert.torch_items(lite)
    one, other = (slots[f"model.decoder.bbox_embed.{i}.layers.0.weight"].variables for i in (0, 2))
    assert one[0] is other[0]
    assert "model.decoder.layers.0.encoder_attn_layer_norm.weight" in slots
    assert not any("gateway" in name for name in slots)


def in_the_repository(state):
    """A state-dict of Transformers in the names of DEIMv2's own repository."""
    found, fused = {}, {}
    for name, value in state.items():
        match = re.match(r"(.*)\.self_attn\.([qkv])_proj\.(\w+)$", name)
        if match:
            fused.setdefault(f"{match[1]}.self_attn.in_proj_{match[3]}", {})[match[2]] = value
            continue
        match = re.match(r"(.*)\.mlp\.(gate|up)_proj\.(\w+)$", name)
        if match:
            fused.setdefault(f"{match[1]}.swish_ffn.w12.{match[3]}", {})[match[2]] = value
            continue
        found[name] = value
    for name, parts in fused.items():
        order = "qkv" if "in_proj" in name else ("gate", "up")
        found[name] = np.concatenate([parts[key] for key in order])
    rules = (
        (r"^model\.conv_encoder\.encoder_input_proj\.", "encoder.input_proj."),
        (r"^model\.conv_encoder\.model\.embedder\.", "backbone.stem."),
        (r"^model\.conv_encoder\.model\.encoder\.stages\.", "backbone.stages."),
        (r"\.convolution\.", ".conv."),
        (r"\.normalization\.", ".bn."),
        (r"^model\.encoder\.aifi\.", "encoder.encoder."),
        (r"^model\.encoder\.down_conv(\d)\.conv\.", r"encoder.down_sample\1.1."),
        (r"^model\.encoder\.down_conv(\d)\.norm\.", r"encoder.down_sample\1.2."),
        (r"^model\.encoder\.bi_fusion_conv\.", "encoder.bi_fusion.cv."),
        (r"^model\.encoder\.", "encoder."),
        (r"(_blocks?(?:\.\d)?)\.conv1\.", r"\1.cv1."),
        (r"(_blocks?(?:\.\d)?)\.conv2\.", r"\1.cv4."),
        (r"\.csp_rep1\.conv2\.", ".cv2.1."),
        (r"\.csp_rep2\.conv2\.", ".cv3.1."),
        (r"\.csp_rep1\.", ".cv2.0."),
        (r"\.csp_rep2\.", ".cv3.0."),
        (r"(downsample_convs\.\d)\.conv(\d)\.", r"\1.0.cv\2."),
        (r"^(encoder\.encoder.*)\.mlp\.layers\.0\.", r"\1.linear1."),
        (r"^(encoder\.encoder.*)\.mlp\.layers\.1\.", r"\1.linear2."),
        (r"^(encoder\.encoder.*)\.self_attn_layer_norm\.", r"\1.norm1."),
        (r"^(encoder\.encoder.*)\.final_layer_norm\.", r"\1.norm2."),
        (r"^model\.enc_output\.0\.", "decoder.enc_output.proj."),
        (r"^model\.enc_output\.1\.", "decoder.enc_output.norm."),
        (r"^model\.(enc_|denoising)", r"decoder.\1"),
        (r"^model\.decoder\.class_embed\.", "decoder.dec_score_head."),
        (r"^model\.decoder\.bbox_embed\.", "decoder.dec_bbox_head."),
        (r"^model\.decoder\.(pre_bbox|query_pos)", r"decoder.\1"),
        (r"^model\.decoder\.", "decoder.decoder."),
        (r"\.encoder_attn\.", ".cross_attn."),
        (r"(decoder\.layers.*)\.self_attn_layer_norm\.weight", r"\1.norm1.scale"),
        (r"(decoder\.layers.*)\.encoder_attn_layer_norm\.weight", r"\1.norm2.scale"),
        (r"(decoder\.layers.*)\.final_layer_norm\.weight", r"\1.norm3.scale"),
        (r"\.gateway\.norm\.weight", ".gateway.norm.scale"),
        (r"\.mlp\.down_proj\.", ".swish_ffn.w3."),
        (r"\.o_proj\.", ".out_proj."),
    )
    for pattern, replacement in rules:
        found = {re.sub(pattern, replacement, name): value for name, value in found.items()}
    return {**found, "decoder.anchors": np.zeros(3), "decoder.valid_mask": np.zeros(3)}


@pytest.mark.parametrize("name", ["deim", "lite"])
def test_files_of_the_repository_fill_the_model(name, request, tmp_path):
    model = request.getfixturevalue(name)
    state = convert.state_dict(model)
    theirs = in_the_repository(state)
    assert not any(key.startswith("model.") for key in theirs)
    write_safetensors(tmp_path / "model.safetensors", theirs, {})
    zeros = {key: np.zeros_like(value) for key, value in state.items()}
    convert.load_state_dict(model, zeros)
    convert.load_file(model, tmp_path / "model.safetensors")
    for key, value in convert.state_dict(model).items():
        np.testing.assert_array_equal(value, state[key], key)


@pytest.mark.parametrize("name", ["plain", "large"])
def test_the_transformers_names_in_the_repository(name):
    large = name == "large"
    own = {"registers": 2, "key_bias": True, "gated": True, "all_normed": True} if large else {}
    backbone = DINOv3Adapter(16, 2, 16, 3, (1, 2, 3), 8, 4, **own)
    with_head = dict.fromkeys(["decoder.decoder.reg_scale"], np.zeros(1))
    assert [x.shape for x in backbone(tf.ones([1, 64, 96, 3]))] == [(1, 8, 12, 8), (1, 4, 6, 8), (1, 2, 3, 8)]
    slots = {f"model.conv_encoder.{key}": slot for key, slot in convert.torch_items(backbone).items()}
    values = {key: np.random.default_rng(1).normal(size=slot.shape) for key, slot in slots.items()}
    theirs = {}
    for key, value in values.items():
        key = key.replace("model.conv_encoder.backbone.", "backbone.dinov3.").replace(
            "model.layer.", "blocks."
        )
        key = key.replace("embeddings.patch_embeddings", "patch_embed.proj").replace("embeddings.", "")
        key = key.replace("register_tokens", "storage_tokens").replace(".attention.o_proj", ".attn.proj")
        for one, other in zip(
            ("gate_proj", "up_proj", "down_proj"), ("w1", "w2", "w3") if large else ("", "fc1", "fc2")
        ):
            key = key.replace(one, other)
        key = re.sub(r"layer_scale(\d)\.lambda1", r"ls\1.gamma", key)
        key = key.replace("model.conv_encoder.spatial_tuning_adapter.", "backbone.sta.")
        key = key.replace("stem_conv.conv", "stem.0").replace("stem_conv.norm", "stem.1")
        key = key.replace("sta.conv2.conv", "sta.conv2.0").replace("sta.conv2.norm", "sta.conv2.1")
        key = re.sub(r"sta\.conv([34])\.conv", r"sta.conv\1.1", key)
        key = re.sub(r"sta\.conv([34])\.norm", r"sta.conv\1.2", key)
        key = re.sub(r"model\.conv_encoder\.fusion_proj\.(\d)\.conv", r"backbone.convs.\1", key)
        key = re.sub(r"model\.conv_encoder\.fusion_proj\.(\d)\.norm", r"backbone.norms.\1", key)
        theirs[key] = value
    for i in range(3):
        for kind in ("weight", "bias"):
            parts = [
                theirs.pop(f"backbone.dinov3.blocks.{i}.attention.{part}_proj.{kind}", None) for part in "qkv"
            ]
            parts = [np.zeros(16) if part is None else part for part in parts]
            theirs[f"backbone.dinov3.blocks.{i}.attn.qkv.{kind}"] = np.concatenate(parts)
    if not large:  # the small ones have neither factors nor a last norm
        theirs = {
            key: value for key, value in theirs.items() if ".ls" not in key and "dinov3.norm" not in key
        }
    found = original_names.renamed({**theirs, **with_head}, slots)
    found.pop("model.decoder.reg_scale")
    assert set(found) == set(slots)
    for key, value in found.items():
        changed = not large and ("layer_scale" in key or "backbone.norm." in key)
        wanted = np.full(slots[key].shape, 0.0 if key.endswith("bias") else 1.0) if changed else values[key]
        np.testing.assert_array_equal(value, wanted, key)
