"""bfloat16 where the processor has no units for it."""

import pytest

from kdet import precision, zoo


@pytest.fixture
def cpu(monkeypatch, tmp_path):
    """Sets what Linux says of the processor."""

    def set_(text):
        path = tmp_path / "cpuinfo"
        path.write_text(text)
        monkeypatch.setattr(precision, "_CPUINFO", path)
        precision.has_bfloat16.cache_clear()
        precision._say_once.cache_clear()

    yield set_
    precision.has_bfloat16.cache_clear()


@pytest.mark.parametrize(
    "text, has",
    [
        ("processor\t: 0\nflags\t\t: fpu avx2 fma\n", False),
        ("flags : avx2 avx512f avx512_bf16\n", True),
        ("Features : fp asimd bf16\n", True),
        ("Features : fp asimd\n", False),
        ("", True),
    ],
)
def test_what_linux_says_of_the_processor(cpu, monkeypatch, text, has):
    monkeypatch.setattr(precision.tf.config, "list_physical_devices", lambda kind: [])
    cpu(text)
    assert precision.has_bfloat16() == has
    monkeypatch.setattr(precision, "_CPUINFO", precision._CPUINFO.with_name("none"))
    precision.has_bfloat16.cache_clear()
    assert precision.has_bfloat16()


def test_float32_stands_in_and_is_said_once(cpu, monkeypatch, caplog):
    monkeypatch.setattr(precision.tf.config, "list_physical_devices", lambda kind: [])
    cpu("flags : avx2\n")
    assert [precision.quick_policy(p) for p in (None, "float32", "mixed_float16")] == [
        None, "float32", "mixed_float16"
    ]  # fmt: skip
    assert not caplog.records
    for _ in range(2):
        assert precision.quick_policy("mixed_bfloat16") == "float32"
    assert [record.message for record in caplog.records if "no units for bfloat16" in record.message]
    assert len(caplog.records) == 1
    model = zoo.load("retinanet_r18_fpn_1x", weights=None, dtype="mixed_bfloat16")
    assert model.backbone.conv1.compute_dtype == "float32"


def test_accelerators_have_it(cpu, monkeypatch):
    cpu("flags : avx2\n")
    monkeypatch.setattr(precision.tf.config, "list_physical_devices", lambda kind: ["one"] * (kind == "TPU"))
    assert precision.quick_policy("mixed_bfloat16") == "mixed_bfloat16"
