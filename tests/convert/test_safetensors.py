"""``.safetensors`` files of other libraries: read without PyTorch, refused when damaged, written back."""

import json
import struct

import numpy as np
import pytest

from kdet import convert
from kdet.convert import cache
from kdet.convert.safetensors import read_safetensors, write_safetensors
from kdet.errors import CheckpointError


def raw(path, header, data):
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)
    return path


def test_what_is_written_is_read(tmp_path):
    state = {"a.weight": np.arange(6, dtype="f4").reshape(2, 3), "count": np.int64(7), "on": np.array([True])}
    write_safetensors(
        tmp_path / "x.safetensors", {k: np.asarray(v) for k, v in state.items()}, {"format": "pt"}
    )
    found = read_safetensors(tmp_path / "x.safetensors")
    assert list(found) == list(state)
    for name, value in state.items():
        np.testing.assert_array_equal(found[name].numpy(), value)
        assert found[name].numpy().dtype == value.dtype


def test_bfloat16_comes_as_float32(tmp_path):
    bits = (np.float32([1.5, -2.0, 0.25]).view("u4") >> 16).astype("<u2")
    header = {"x": {"dtype": "BF16", "shape": [3], "data_offsets": [0, 6]}}
    found = read_safetensors(raw(tmp_path / "b.safetensors", header, bits.tobytes()))
    np.testing.assert_array_equal(found["x"].numpy(), np.float32([1.5, -2.0, 0.25]))


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"dtype": "F32", "shape": [3], "data_offsets": [0, 8]}, "another size than its header says"),
        ({"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}, "lies behind its end"),
        ({"dtype": "F99", "shape": [2], "data_offsets": [0, 8]}, "cannot be read"),
        ({"dtype": "F32", "shape": [-2], "data_offsets": [0, 8]}, "cannot be read"),
        ({"dtype": "F32", "shape": [2], "data_offsets": [0]}, "another size"),
        ("nothing", "cannot be read"),
    ],
)
def test_a_header_that_does_not_fit_is_refused(tmp_path, entry, message):
    path = raw(tmp_path / "bad.safetensors", {"x": entry}, bytes(8))
    with pytest.raises(CheckpointError, match=message):
        read_safetensors(path)


def test_files_of_both_kinds_fill_a_model(tmp_path, toys):
    model, other = toys.detector(), toys.detector()
    convert.load_state_dict(model, toys.state(model))
    convert.save_checkpoint(model, tmp_path / "torch.safetensors")
    cache.save_weights(model, tmp_path / "own.safetensors")
    assert cache.is_own(tmp_path / "own.safetensors") and not cache.is_own(tmp_path / "torch.safetensors")
    for name in ("torch.safetensors", "own.safetensors"):
        convert.load_state_dict(other, {k: np.zeros_like(v) for k, v in toys.state(other).items()})
        assert convert.load_file(other, tmp_path / name).filled
        for key, value in convert.state_dict(model).items():
            np.testing.assert_array_equal(convert.state_dict(other)[key], value)


def test_a_file_of_another_model_is_refused(tmp_path, toys):
    convert.save_checkpoint(toys.backbone(), tmp_path / "part.safetensors")
    with pytest.raises(convert.IncompleteStateDict, match=r"part\.safetensors"):
        convert.load_file(toys.detector(), tmp_path / "part.safetensors")
