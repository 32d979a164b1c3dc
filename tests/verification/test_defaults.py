"""Recipes and users rely on defaults: a change of one is made on purpose."""

from verification import defaults


def test_no_default_changes_unseen():
    kept = defaults.FILE.read_text(encoding="utf-8").splitlines()
    now = defaults.lines()
    lost, new = sorted(set(kept) - set(now)), sorted(set(now) - set(kept))
    assert now == kept, f"if this is meant, run python -m verification.defaults; lost {lost}, new {new}"


def test_a_line_per_callable_that_has_defaults():
    found = defaults.lines()
    assert "MultiheadAttention(units=256, num_heads=8, dropout=0.0)" in found
    assert (
        "nms.nms(labels=None, score_threshold=float('-inf'), separate='offset', implementation=None)" in found
    )
    assert "ATSSHead.call(training=False)" in found
