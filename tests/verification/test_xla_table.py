"""The table of docs/xla.md, and what it says of errors."""

from verification import sweep_xla

FAMILIES = {"a_1x": "a", "a_2x": "a", "b_1x": "b", "c_1x": "c"}


def test_recipes_of_one_verdict_share_a_row():
    good = {"same_detections": "ok", "same_step": "ok"}
    report = {"a_1x": good, "a_2x": good, "b_1x": {**good, "same_step": "fails: it | stops"}, "gone": good}
    text = sweep_xla.section(report, FAMILIES)
    assert "3 of 4 were run. XLA compiles the inference of 3 and the training step of 2" in text
    assert "| a | a_1x, a_2x | ok | ok |\n| b | b_1x | ok | fails: it \\| stops |" in text
    assert text.endswith("No model was run of: c.\n") and "gone" not in text


def test_what_is_told_of_an_error():
    missing = ValueError("Failed: 'Detected (No registered 'PyFunc' OpKernel for XLA_CPU_JIT ...)\nThe op is")
    assert sweep_xla.told(missing) == "XLA has no PyFunc"
    assert sweep_xla.told(AssertionError("\n 3 of 9 differ\nmore")) == "AssertionError: 3 of 9 differ"
    assert sweep_xla.told(KeyError()) == "KeyError: "
