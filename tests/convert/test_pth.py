"""The checkpoints under tests/assets/checkpoints were written by torch.save in both formats."""

import io
import pathlib
import pickle
import tracemalloc
import zipfile

import numpy as np
import pytest

from kdet.convert.pth import CheckpointError, StoredTensor, read_pth
from kdet.convert.pth_writer import write_pth

FILES = pathlib.Path(__file__).parents[1] / "assets" / "checkpoints"
FORMATS = ("zip", "stream")

COUNT = np.arange(24, dtype=np.float32).reshape(4, 6)
EXPECTED = {
    "float": COUNT,
    "strided": COUNT.T[1:, ::2],
    "expanded": np.float32([[1.5] * 3, [2.5] * 3]),
    "half": np.float16([0.5, -1.25]),
    "bfloat16": np.float32([[1.0, -3.140625], [2**-20, 0]]),
    "double": np.float64(3.141592653589793),
    "long": np.int64(7),
    "uint8": np.uint8([0, 255]),
    "bool": np.array([True, False]),
    "empty": np.zeros((0, 4), np.float32),
    "parameter": np.float32([[1, 2]]),
    "net.0.weight": np.arange(108, dtype=np.float32).reshape(4, 3, 3, 3),
    "net.1.num_batches_tracked": np.int64(0),
}


@pytest.mark.parametrize("name", FORMATS)
def test_reads_what_torch_wrote(name):
    checkpoint = read_pth(FILES / f"{name}.pth")
    assert checkpoint["meta"]["CLASSES"] == ("cat", "dog")
    assert checkpoint["meta"]["hook_msgs"] == {"best": 0.5}
    assert checkpoint["meta"]["blob"] == b"\x00\xff" and checkpoint["meta"]["names"] == {"set"}
    assert checkpoint["optimizer"]["param_groups"] == [{"lr": 0.02, "params": [0, 1]}]
    for key, expected in EXPECTED.items():
        array = np.asarray(checkpoint["state_dict"][key])
        assert array.dtype == expected.dtype and array.flags.c_contiguous
        np.testing.assert_array_equal(array, expected)


def big_endian(name):
    """The bytes of a file as a machine of the other byte order would have named them."""
    data = (FILES / f"{name}.pth").read_bytes()
    if name == "stream":
        start = data.index(b"little_endian")
        return data[:start] + data[start:].replace(b"\x88", b"\x89", 1)  # True, False
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(buffer, "w") as new:
        root = old.namelist()[0].split("/")[0]
        for entry in old.namelist():
            if not entry.endswith("byteorder"):
                new.writestr(entry, old.read(entry))
        new.writestr(f"{root}/byteorder", b"big")
    return buffer.getvalue()


@pytest.mark.parametrize("name", FORMATS)
def test_numbers_are_read_in_the_byte_order_that_the_file_names(name, tmp_path):
    (tmp_path / "big.pth").write_bytes(big_endian(name))
    state = read_pth(tmp_path / "big.pth")["state_dict"]
    for key in ("float", "half", "long", "double", "uint8", "strided"):
        array = np.asarray(state[key])
        assert array.dtype == EXPECTED[key].dtype and array.dtype.isnative
        np.testing.assert_array_equal(
            array.tobytes(), np.ascontiguousarray(EXPECTED[key]).byteswap().tobytes()
        )
    bits = np.ascontiguousarray(EXPECTED["bfloat16"]).view(np.uint32) >> 16
    swapped = (((bits & 255) << 8) | (bits >> 8)) << 16
    np.testing.assert_array_equal(np.asarray(state["bfloat16"]).view(np.uint32), swapped)


def test_tensors_share_their_storage():
    state = read_pth(FILES / "zip.pth")["state_dict"]
    assert isinstance(state["float"], StoredTensor)
    assert state["float"]._storage is state["strided"]._storage
    assert not state["float"].numpy().flags.owndata  # a view of the file, not a copy


def test_memory_stays_below_two_tensors(tmp_path):
    size = 2**18
    write_pth(tmp_path / "big.pth", {f"t{i}": np.full(size, i, "float32") for i in range(8)})
    tracemalloc.start()
    try:
        for i, tensor in enumerate(read_pth(tmp_path / "big.pth").values()):
            assert np.asarray(tensor, dtype="float64").mean() == i  # the conversion makes the copy
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 2 * 8 * size  # 8 MB of tensors in the file, 2 MB for each as float64


@pytest.mark.parametrize("name", FORMATS)
def test_hostile_pickle_is_refused_by_name(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CheckpointError, match=r"hostile_\w+.pth: the pickle asks for posix.system"):
        read_pth(FILES / f"hostile_{name}.pth")
    assert list(tmp_path.iterdir()) == []


def _zip_with(path, pickled):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", pickled)
    return path


@pytest.mark.parametrize(
    "opcodes",
    [
        b"cbuiltins\neval\n(V1\ntR.",
        b"c__builtin__\neval\n(V1\ntR.",
        b"(V1\nicbuiltins\neval\n.",
        b"ccollections\nOrderedDict.__class__\n.",
        b"ctorch._utils\n_rebuild_tensor_v2\n}V__defaults__\nI1\nsb.",  # change a function of the reader
        b"(Vstorage\nVos\nV0\nVcpu\nI1\ntQ.",
        b"cnumpy\ndtype\n(VO\nI0\nI1\ntR.",
    ],
)
def test_every_other_global_is_refused(opcodes, tmp_path):
    with pytest.raises(CheckpointError, match="hand_made.pth"):
        read_pth(_zip_with(tmp_path / "hand_made.pth", opcodes))


def test_tensor_beyond_its_storage_is_refused(tmp_path):
    storage = b"(Vstorage\nctorch\nFloatStorage\nV0\nVcpu\nI4\ntQ"
    tensor = b"ctorch._utils\n_rebuild_tensor_v2\n(%bI0\n(I%d\nt(I%d\nttR."
    for size, stride in ((5, 1), (2, 4), (1, -1)):
        with pytest.raises(CheckpointError, match="tensor"):
            read_pth(_zip_with(tmp_path / "x.pth", tensor % (storage, size, stride)))


def test_tensor_cannot_be_changed_behind_its_check(tmp_path):
    storage = b"(Vstorage\nctorch\nFloatStorage\nV0\nVcpu\nI4\ntQ"
    tensor = b"ctorch._utils\n_rebuild_tensor_v2\n(%bI0\n(I4\nt(I1\nttR" % storage
    with pytest.raises(CheckpointError, match="tries to change a StoredTensor"):
        read_pth(_zip_with(tmp_path / "x.pth", tensor + b"}V_strides\n(I99\ntsb."))


@pytest.mark.parametrize("name", FORMATS)
def test_truncated_files_say_so(name, tmp_path):
    data = (FILES / f"{name}.pth").read_bytes()
    for length in (0, 1, 60, len(data) // 3, len(data) // 2, len(data) - 3):
        path = tmp_path / "cut.pth"
        path.write_bytes(data[:length])
        with pytest.raises(CheckpointError, match="cut.pth.*(empty|cut off|damaged)"):
            read_pth(path)


@pytest.mark.parametrize(
    "data", [b"<html>not found</html>", b"version https://git-lfs\n", pickle.dumps({"a": 1})]
)
def test_other_files_are_no_checkpoints(data, tmp_path):
    path = tmp_path / "other.pth"
    path.write_bytes(data)
    with pytest.raises(CheckpointError, match="other.pth"):
        read_pth(path)
