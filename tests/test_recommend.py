"""Which model to take."""

import pytest

from kdet import recommend as module
from kdet import zoo
from kdet.errors import KdetError

TIMES = {
    "cpu": {
        "rtmdet_tiny_300e": 100.0,  # 41.1
        "rtmdet_s_300e": 150.0,  # 44.6
        "faster_rcnn_r50_fpn_1x": 900.0,  # 37.4: nobody's choice
        "rtmdet_l_300e": 500.0,  # 51.3
        "rtmdet-ins_s_300e": 200.0,  # 44.0 and 38.7
    },
    "gpu": {"rtmdet_l_300e": 5.0},
}


@pytest.fixture
def times(monkeypatch):
    monkeypatch.setattr(module, "_times", lambda: TIMES)


def names(*arguments, **options):
    return [choice.name for choice in zoo.recommend(*arguments, **options)]


def test_the_best_first_and_nobody_who_is_beaten(times):
    assert names() == ["rtmdet_l_300e", "rtmdet_s_300e", "rtmdet_tiny_300e"]
    assert names(budget_ms=150) == ["rtmdet_s_300e", "rtmdet_tiny_300e"]
    assert names("instance") == ["rtmdet-ins_s_300e"]
    assert names(device="gpu") == ["rtmdet_l_300e"]
    first = zoo.recommend()[0]
    assert (first.figure, first.milliseconds, first.license) == (51.3, 500.0, "Apache-2.0")
    assert "rtmdet_l_300e" in str(first) and "500 ms" in str(first)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"task": "boxes"}, "task is one of detection, .*'boxes'"),
        ({"device": "tpu"}, "on 'tpu'; there are those of cpu, gpu"),
        ({"budget_ms": 10}, "as fast as 10 ms on cpu; the fastest, rtmdet_tiny_300e, takes 100 ms"),
        ({"task": "panoptic"}, "hold no model for the task 'panoptic'"),
    ],
)
def test_what_cannot_be_had_is_said(times, options, message):
    with pytest.raises(KdetError, match=message):
        zoo.recommend(**options)


def test_the_table_holds_published_models_of_every_task():
    table = module._times()
    assert len(table) >= 1 and all(name in zoo.list() for times in table.values() for name in times)
    for task in ("detection", "instance", "panoptic"):
        assert zoo.recommend(task)
