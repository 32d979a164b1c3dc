import json

import pytest
import tensorflow as tf

from kdet import ops
from kdet.ops import build, compiled, dispatch


def portable():
    return "portable"


def fast():
    return "compiled"


def test_use_is_in_force_until_restored():
    before = dispatch.wanted()
    with ops.use("portable"):
        assert dispatch.choose("op", None, portable, fast) is portable
    assert dispatch.wanted() == before
    with pytest.raises(ValueError, match="'fastest'"):
        ops.use("fastest")


def test_environment(monkeypatch):
    monkeypatch.setattr(dispatch, "_wanted", None)
    monkeypatch.setenv("KDET_OPS", "portable")
    assert dispatch.wanted() == "portable"
    monkeypatch.setenv("KDET_OPS", "")
    assert dispatch.wanted() == "auto"
    monkeypatch.setenv("KDET_OPS", "quick")
    with pytest.raises(ValueError, match="KDET_OPS"):
        dispatch.wanted()


def test_auto_falls_back_and_says_so_once(monkeypatch, caplog):
    monkeypatch.setattr(dispatch, "_wanted", "auto")
    monkeypatch.setattr(compiled, "why_not", lambda: "There is no library.")
    dispatch._compiled_runs_here.cache_clear()
    try:
        for _ in range(2):
            assert dispatch.choose("op", None, portable, fast) is portable
        assert [r.message for r in caplog.records] == ["There is no library. Using the portable ops."]
    finally:
        dispatch._compiled_runs_here.cache_clear()


def test_ops_go_to_the_gpu_unless_a_device_is_asked_for(monkeypatch):
    monkeypatch.setattr(dispatch, "has_gpu", lambda: True)

    def traced(device=None):
        seen = []

        @tf.function(autograph=False)
        def step():
            with tf.device(device):
                seen.append(dispatch.on_gpu())

        step()
        return seen

    assert traced() == [True]
    assert traced("CPU") == [False]
    with tf.device("CPU"):
        assert not dispatch.on_gpu()


def test_an_op_without_a_compiled_form():
    with ops.use("compiled"):
        assert dispatch.choose("op", None, portable) is portable
    with pytest.raises(compiled.Unavailable, match="op has no compiled form"):
        dispatch.choose("op", "compiled", portable)


@pytest.mark.parametrize(
    "stamp,sentence",
    [
        ({"tensorflow": "1.0.0"}, "was built for TensorFlow 1.0.0, but this is"),
        ({"tensorflow": tf.__version__}, "could not be loaded"),
    ],
)
def test_a_library_for_something_else_is_refused(tmp_path, stamp, sentence):
    with pytest.raises(compiled.Unavailable, match="python -m kdet.ops build"):
        compiled._checked_load(tmp_path)
    (tmp_path / build.LIBRARY).write_bytes(b"no library")
    (tmp_path / build.STAMP).write_text(json.dumps(stamp))
    with pytest.raises(compiled.Unavailable, match=sentence):
        compiled._checked_load(tmp_path)


@pytest.mark.parametrize("stamp", ["", "{", "[]", "{}", '{"cuda": false}'])
def test_a_broken_stamp_is_no_library(tmp_path, stamp):
    (tmp_path / build.LIBRARY).write_bytes(b"no library")
    (tmp_path / build.STAMP).write_text(stamp)
    with pytest.raises(compiled.Unavailable, match="does not say what the ops were built for"):
        compiled._checked_load(tmp_path)


def test_a_library_of_changed_sources_says_so(monkeypatch, caplog):
    if compiled.why_not() is not None:
        pytest.skip("the compiled ops are not built here")
    monkeypatch.setattr(compiled, "_read_stamp", lambda folder, read=compiled._read_stamp: {
        **read(folder), "sources": "of yesterday"
    })  # fmt: skip
    compiled._checked_load(compiled.FOLDER)
    assert [r.message for r in caplog.records if "built from other sources" in r.message]


def test_the_command_ends_in_a_sentence(monkeypatch, tmp_path):
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(SystemExit, match="kdet.ops: No C.. compiler found .looked for no-such-compiler"):
        build.main(["build", "--output-dir", str(tmp_path)])
    with pytest.raises(SystemExit, match="no_library.so"):
        build.main(["install", str(tmp_path / "no_library.so"), "--output-dir", str(tmp_path)])


def test_under_xla_auto_is_portable():
    def run(x):
        assert dispatch.choose("op", None, portable, fast) is portable
        return tf.map_fn(lambda row: row if dispatch.under_xla() else 1 / 0, x)

    with ops.use("auto"):
        tf.function(run, jit_compile=True)(tf.ones([2]))
    assert not dispatch.under_xla()


def test_build_names_what_is_missing(monkeypatch, tmp_path):
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(RuntimeError, match="no-such-compiler"):
        build.build(output_dir=tmp_path)


def test_build_reports_the_command_that_failed(monkeypatch, tmp_path):
    monkeypatch.setenv("CXX", "false")
    with pytest.raises(RuntimeError, match=r"(?s)false.*failed"):
        build.build(output_dir=tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_library_of_older_sources_is_refused(monkeypatch):
    if compiled.why_not() is not None:
        pytest.skip("the compiled ops are not built here")
    monkeypatch.setattr(compiled, "OPS", (*compiled.OPS, "kdet_of_tomorrow"))
    with pytest.raises(compiled.Unavailable, match="older sources, without kdet_of_tomorrow"):
        compiled._checked_load(compiled.FOLDER)
