"""LW-DETR and RF-DETR in small: windows, positions, groups of queries, losses, names of all libraries."""

import re

import numpy as np
import pytest
import tensorflow as tf

from kdet import convert
from kdet.assigners import HungarianAssigner
from kdet.backbones import LWDETRViT, WindowedDINOv2
from kdet.convert.safetensors import write_safetensors
from kdet.detectors import DetectionTransformer, Preprocessor
from kdet.heads.query import LWDETRDecoder, LWDETRHead, QualityCriterion
from kdet.heads.query.cells import cell_boxes
from kdet.heads.query.lwdetr import COCO_IDS, moved
from kdet.layers import cut_windows, inference, join_windows, resized_table
from kdet.losses import GIoULoss, IoUAwareLoss, L1Loss
from kdet.necks import LWDETRProjector, RFDETRProjector
from kdet.train.param_groups import ParamGroups
from tests.heads.test_rtdetr import INFO, TARGETS

GROUPS = 3


def criterion(**kwargs):
    return QualityCriterion(
        term="ce",
        assigner=HungarianAssigner(2.0, 5.0, 2.0, focal=True),
        loss_cls=IoUAwareLoss(),
        loss_bbox=L1Loss(loss_weight=5.0),
        loss_iou=GIoULoss(loss_weight=2.0),
    )


def head(num_levels, num_classes=3, **kwargs):
    """A head of 16 channels with 5 queries in a group."""
    return LWDETRHead(
        num_classes=num_classes,
        num_queries=5,
        groups=GROUPS,
        decoder=LWDETRDecoder(16, 2, 4, 16, 2, num_levels),
        criterion=criterion(),
        **kwargs,
    )


def small(rf=False):
    """LW-DETR on two maps, or RF-DETR."""
    if rf:
        parts = {
            "backbone": WindowedDINOv2(16, 2, 4, layers_out=(1, 3), windows=2, patch=16, side=3),
            "neck": RFDETRProjector(16, 1),
        }
    else:
        parts = {
            "backbone": LWDETRViT(16, 2, 3, layers_out=(2, 3), global_layers=(1,)),
            "neck": LWDETRProjector(16, 16, 2, (2.0, 0.5), 1),
        }
    return DetectionTransformer(
        **parts,
        bbox_head=head(1 if rf else 2),
        preprocessor=Preprocessor(size=(128, 64), keep_ratio=False, pad_divisor=64),
    )


@pytest.fixture(scope="module")
def lw():
    return small()


@pytest.fixture(scope="module")
def rf():
    return small(rf=True)


@pytest.fixture(scope="module")
def images():
    return tf.constant(np.random.default_rng(0).normal(size=(2, 64, 128, 3)), tf.float32)


def scrambled(model):
    """The model with weights that are not those of the start: there no box is moved."""
    random = np.random.default_rng(1)
    for variable in model.trainable_variables:
        variable.assign_add(random.normal(scale=0.05, size=variable.shape))
    return model


# ---- parts


def test_windows_of_a_map_and_back():
    x = tf.reshape(tf.range(2 * 4 * 6 * 1), [2, 4, 6, 1])
    cut = cut_windows(x, 2)
    assert cut.shape == (8, 6, 1)
    np.testing.assert_array_equal(cut[1, :, 0], [3, 4, 5, 9, 10, 11])
    np.testing.assert_array_equal(cut[6, :, 0], np.array([0, 1, 2, 6, 7, 8]) + 24 + 12)
    np.testing.assert_array_equal(join_windows(cut, 2, 4, 6), x)


@pytest.mark.parametrize(
    "antialias, wanted",
    [  # torch.nn.functional.interpolate(mode="bicubic", align_corners=False, antialias=...)
        (False, [0.148149, 4.0, 14.074071]),
        (False, [-0.078717, 0.265307, 1.682217, 4.0, 7.046647, 12.463553, 16.551027]),
        (True, [0.169231, 4.195349, 13.338459]),
        (True, [-0.058252, 0.360111, 1.653062, 4.0, 7.367347, 12.415513, 16.407768]),
    ],
)
def test_tables_are_interpolated_as_pytorch_does(antialias, wanted):
    rows = np.stack([[0.0, 1.0, 4.0, 9.0, 16.0]] * 5).astype(np.float32)
    table = tf.constant(rows.reshape(25, 1))
    found = resized_table(table, 5, 5, len(wanted), antialias)
    assert found.shape == (5, len(wanted), 1)
    np.testing.assert_allclose(found[2, :, 0], wanted, atol=1e-5)
    np.testing.assert_allclose(resized_table(table, 5, 5, 5, antialias)[..., 0], rows, atol=1e-6)


def test_boxes_move_in_units_of_their_size():
    found = moved(tf.constant([[0.5, 0.5, 0.2, 0.4]]), tf.constant([[1.0, -2.0, 0.0, np.log(2.0)]]))
    np.testing.assert_allclose(found, [[0.7, -0.3, 0.2, 0.8]], rtol=1e-5)


def test_a_window_does_not_see_the_others_but_a_global_layer_does(images):
    changed = images + tf.cast(tf.range(128)[:, None] < 32, tf.float32)  # the first column of windows
    for layers_out, reaches in (((1,), False), ((2,), True)):
        backbone = LWDETRViT(16, 2, 2, layers_out=layers_out, global_layers=(1,))
        before, after = (backbone(x)[0][:, :, 4:] for x in (images, changed))
        assert (np.abs(before - after).max() > 1e-6) == reaches


def test_sides_that_are_no_multiples_are_refused():
    with pytest.raises(ValueError, match="multiples of 64 .* not 96"):
        LWDETRViT(16, 2, 2, layers_out=(2,))(tf.zeros([1, 64, 96, 3]))
    assert WindowedDINOv2(16, 2, 2, layers_out=(2,), windows=4, patch=14).build_size == 112


def test_layers_are_counted_from_the_heads(lw):
    above = lw.backbone.layers_above
    names = ("embeddings.position_embeddings", "encoder.layer.0.gamma_1", "encoder.layer.2.gamma_1")
    assert [above(name) for name in names] == [4, 3, 1]
    rates = ParamGroups(layer_decay=0.5)
    assert [rates.layer_factor(lw, f"model.backbone.backbone.{name}") for name in names] == [
        1 / 16,
        1 / 8,
        1 / 2,
    ]
    assert rates.layer_factor(lw, "model.backbone.projector.scale_layers.0.layer_norm.weight") == 1.0


def test_the_loss_of_matched_queries_has_the_mean_of_probability_and_overlap():
    pred = np.array([[0.4, -1.0, 2.0]], np.float32)
    target = np.array([[[1.0, 0.6], [0.0, 0.0], [0.0, 0.0]]], np.float32)
    p = 1 / (1 + np.exp(-pred[0].astype(np.float64)))
    mean = p[0] ** 0.25 * 0.6**0.75
    wanted = -mean * np.log(p[0]) - (1 - mean) * np.log(1 - p[0]) - (p[1:] ** 2 * np.log(1 - p[1:])).sum()
    loss = IoUAwareLoss()
    assert float(loss(tf.constant(pred), tf.constant(target), avg_factor=1.0)) == pytest.approx(
        wanted, rel=1e-5
    )
    apart = loss.elementwise(tf.constant(pred), tf.constant(target * 0.0 + np.float32([[[1.0, 0.0]]])))
    np.testing.assert_allclose(apart[0], -0.01 * np.log(p) - 0.99 * np.log(1 - p), rtol=1e-5)


# ---- the head


@pytest.mark.parametrize("name", ["lw", "rf"])
def test_groups_of_the_training_do_not_meet(request, images, name):
    model = request.getfixturevalue(name)
    features = model.extract_features(images)
    alone = model.bbox_head(features, INFO)
    together = model.bbox_head(features, INFO, training=True)
    assert alone.layers.boxes[0].shape == (2, 5, 4) and together.layers.boxes[0].shape == (2, 5 * GROUPS, 4)
    for one, other in zip(alone.layers.states, together.layers.states, strict=True):
        np.testing.assert_allclose(one, other[:, :5], atol=2e-6)
    assert np.abs(together.layers.states[0][:, 5:10] - alone.layers.states[0]).max() > 1e-3


def test_every_group_is_matched_by_itself(lw, images):
    outputs = lw.bbox_head(lw.extract_features(images), INFO, training=True)
    logits, boxes = (tf.stack(x) for x in (outputs.layers.logits, outputs.layers.boxes))
    found = lw.bbox_head.assign(logits, boxes, TARGETS, INFO)
    assert len(found) == 2
    for one in found:
        rows = one.gt_index.numpy().reshape(2, GROUPS, 5)
        assert [[sorted(x[x >= 0]) for x in image] for image in rows] == [[[0, 1]] * GROUPS, [[0]] * GROUPS]


def test_losses_of_all_layers_and_cells(images):
    model = scrambled(small())
    with tf.GradientTape() as tape:
        losses = model.forward_losses(images, INFO, TARGETS)
        total = tf.add_n(list(losses.values()))
    terms, ends = ("loss_ce", "loss_bbox", "loss_giou"), ("", "_0", "_enc")
    assert set(losses) == {term + end for term in terms for end in ends}
    assert all(np.isfinite(value) for value in losses.values())
    gradients = tape.gradient(total, model.trainable_variables)
    assert not [v.path for v, g in zip(model.trainable_variables, gradients, strict=True) if g is None]


def test_a_batch_without_objects_trains(rf, images):
    empty = {"boxes": tf.zeros([2, 2, 4]), "labels": tf.fill([2, 2], -1)}
    losses = rf.forward_losses(images, INFO, empty)
    assert all(np.isfinite(value) for value in losses.values())
    assert losses["loss_bbox"] == 0.0 and losses["loss_ce"] > 0.0


def test_fewer_cells_than_queries():
    features = [tf.random.normal([2, 1, 3, 16])]
    one = head(1)
    outputs = one(features, INFO, training=True)
    assert outputs.layers.boxes[0].shape == (2, 3 * GROUPS, 4)
    assert all(np.isfinite(v) for v in one.compute_losses(outputs, TARGETS, INFO).values())


def test_cells_at_the_border_start_no_query_while_others_are_left():
    shapes, one = [(64, 2)], head(1)
    inside = cell_boxes(shapes)[1].numpy().ravel()
    assert inside.sum() == 2 * 62
    chosen = []
    own = one.best_cells
    object.__setattr__(one, "best_cells", lambda scores: chosen.append(own(scores)) or chosen[-1])
    one([tf.random.normal([2, 64, 2, 16])], INFO)
    assert inside[chosen[0].numpy()].all()


def test_coco_has_an_output_for_every_category_id():
    one = head(1, num_classes=80, coco_ids=True)
    outputs = one([tf.random.normal([2, 4, 4, 16])], INFO, training=True)
    assert outputs.layers.logits[0].shape == (2, 5 * GROUPS, 91)
    labels = one.with_columns({"labels": tf.constant([[0, 79, -1]])})["labels"]
    np.testing.assert_array_equal(labels, [[1, 90, -1]])
    scores = one.scores(outputs)
    np.testing.assert_array_equal(scores[0, 0, 11], tf.sigmoid(outputs.layers.logits[-1])[0, 0, 13])
    assert scores.shape[-1] == len(COCO_IDS) == 80
    assert head(1, coco_ids=True).columns is None


def test_detections_lie_in_original_pixels_and_their_graph_finds_the_same(lw, images):
    found = lw(images)
    assert found["boxes"].shape == (2, 5, 4)
    assert np.all(np.diff(found["scores"].numpy()) <= 0)
    graph = lw.predict_on_batch(images)
    np.testing.assert_allclose(graph["boxes"], found["boxes"], rtol=1e-4, atol=1e-3)


def test_any_size_of_whole_windows(rf):
    with inference():
        for size in ((64, 64), (96, 160)):
            info = {k: v[:1] for k, v in INFO.items() if k != "seed"}
            assert np.isfinite(rf.detect(tf.ones([1, *size, 3]), info)["boxes"]).all()


# ---- names


def test_names_are_those_of_transformers(lw, rf, tmp_path):
    assert set(convert.torch_items(lw)) >= {
        "model.backbone.backbone.embeddings.position_embeddings",
        "model.backbone.backbone.encoder.layer.0.gamma_2",
        "model.backbone.backbone.encoder.layer.2.intermediate.fc1.weight",
        "model.backbone.projector.scale_layers.0.sampling_layers.1.layers.0.weight",
        "model.backbone.projector.scale_layers.1.sampling_layers.0.layers.0.norm.running_var",
        "model.backbone.projector.scale_layers.1.projector_layer.bottlenecks.0.conv2.conv.weight",
        "model.decoder.layers.1.cross_attn.sampling_offsets.bias",
        "model.enc_out_bbox_embed.2.layers.2.weight",
        "class_embed.weight",
    }
    assert set(convert.torch_items(rf)) >= {
        "model.backbone.backbone.embeddings.mask_token",
        "model.backbone.backbone.embeddings.patch_embeddings.projection.weight",
        "model.backbone.backbone.encoder.layer.3.layer_scale2.lambda1",
        "model.backbone.projector.projector_layer.conv1.norm.bias",
    }
    convert.save_checkpoint(lw, tmp_path / "model.safetensors")
    state, other = convert.state_dict(lw), small()
    assert convert.load_file(other, tmp_path / "model.safetensors").filled == len(state)
    for name, value in convert.state_dict(other).items():
        np.testing.assert_array_equal(value, state[name])


COMMON = (
    (r"^model\.(model\.)?", ""),
    (r"^reference_point_embed\.", "refpoint_embed."),
    (r"^(decoder|enc_output|enc_output_norm|enc_out_class_embed|enc_out_bbox_embed)\.", r"transformer.\1."),
    (r"\.layernorm\.(?=\w+$)", ".norm."),
    (r"\.self_attn_layer_norm\.", ".norm1."),
    (r"\.cross_attn_layer_norm\.", ".norm2."),
    (r"(transformer\.decoder\.layers\.\d+)\.layer_norm\.", r"\1.norm3."),
    (r"(transformer\.decoder\.layers\.\d+)\.mlp\.fc", r"\1.linear"),
    (r"\.self_attn\.o_proj\.", ".self_attn.out_proj."),
    (r"^backbone\.projector\.scale_layers\.(\d+)\.sampling_layers\.(\d+)\.layers\.",
     r"backbone.0.projector.stages_sampling.\1.\2."),
    (r"^backbone\.projector\.scale_layers\.(\d+)\.projector_layer\.", r"backbone.0.projector.stages.\1.0."),
    (r"^backbone\.projector\.scale_layers\.(\d+)\.layer_norm\.", r"backbone.0.projector.stages.\1.1."),
    (r"^backbone\.projector\.projector_layer\.", r"backbone.0.projector.stages.0.0."),
    (r"^backbone\.projector\.layer_norm\.", r"backbone.0.projector.stages.0.1."),
    (r"(projector\..*)\.bottlenecks\.", r"\1.m."),
    (r"(projector\.stages\..*)\.conv([12])\.(conv|norm)\.", r"\1.cv\2.\3."),
    (r"(projector\..*)\.norm\.", r"\1.bn."),
)  # fmt: skip
LW = (
    (r"^backbone\.backbone\.embeddings\.position_embeddings$", "backbone.0.encoder.pos_embed"),
    (r"^backbone\.backbone\.embeddings\.projection\.", "backbone.0.encoder.patch_embed.proj."),
    (r"^backbone\.backbone\.encoder\.layer\.", "backbone.0.encoder.blocks."),
    (r"\.layernorm_before\.", ".norm1."),
    (r"\.layernorm_after\.", ".norm2."),
    (r"\.intermediate\.", ".mlp."),
    (r"\.attention\.o_proj\.", ".attn.proj."),
    (r"\.attention\.([qv])_proj\.bias$", r".attn.\1_bias"),
    (r"\.attention\.([qkv])_proj\.weight$", r".attn.\1.weight"),
)
RF = (
    (r"^backbone\.backbone\.norm\.", "backbone.backbone.layernorm."),
    (r"^backbone\.backbone\.", "backbone.0.encoder.encoder."),
    (r"\.attention\.q_proj\.", ".attention.attention.query."),
    (r"\.attention\.k_proj\.", ".attention.attention.key."),
    (r"\.attention\.v_proj\.", ".attention.attention.value."),
    (r"\.attention\.o_proj\.", ".attention.output.dense."),
)


def of_the_repository(state, rules):
    """A state-dict of Transformers in the names of the families' own repositories."""
    found, parts = {}, {}
    for name, array in state.items():
        for pattern, replacement in (*COMMON, *rules):
            name = re.sub(pattern, replacement, name)
        own = re.sub(r"\.self_attn\.[qkv]_proj\.(weight|bias)$", r".self_attn.in_proj_\1", name)
        own = re.sub(r"\.attn\.[qkv]\.weight$", ".attn.qkv.weight", own)
        if own == name:
            found[name] = array
        else:
            parts.setdefault(own, {})[name] = array
    for name, own in parts.items():
        order = [next(x for key, x in own.items() if re.search(rf"\.{c}(_proj)?\.\w+$", key)) for c in "qkv"]
        found[name] = np.concatenate(order)
    return found


@pytest.mark.parametrize("name, rules", [("lw", LW), ("rf", RF)])
def test_files_of_the_repositories_fill_the_model(request, tmp_path, name, rules):
    model = request.getfixturevalue(name)
    state = convert.state_dict(model)
    theirs = of_the_repository(state, rules)
    assert "transformer.decoder.layers.0.self_attn.in_proj_bias" in theirs and len(theirs) < len(state)
    write_safetensors(tmp_path / "theirs.safetensors", theirs, {})
    other = small(rf=name == "rf")
    assert convert.load_file(other, tmp_path / "theirs.safetensors").filled == len(state)
    for key, value in convert.state_dict(other).items():
        np.testing.assert_array_equal(value, state[key])
    del theirs["transformer.decoder.norm.weight"]
    with pytest.raises(convert.IncompleteStateDict, match=r"decoder\.layernorm\.weight"):
        write_safetensors(tmp_path / "short.safetensors", theirs, {})
        convert.load_file(other, tmp_path / "short.safetensors")


def test_files_of_older_transformers_have_other_names(lw):
    state = convert.state_dict(lw)
    words = {"q_proj": "attention.query", "k_proj": "attention.key", "v_proj": "attention.value"}
    older = {}
    for name in state:
        old = re.sub(r"(layer\.\d+\.attention)\.([qkv]_proj)", lambda m: f"{m[1]}.{words[m[2]]}", name)
        older[re.sub(r"(layer\.\d+\.attention)\.o_proj", r"\1.output", old)] = name
    report = convert.load_state_dict(lw, {old: state[name] for old, name in older.items()})
    assert report.filled == len(state) and report.renamed == {o: n for o, n in older.items() if o != n}
