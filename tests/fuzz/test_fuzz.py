"""A short run of every fuzzer; ``python -m tests.fuzz.fuzz`` is the long one."""

import pytest

from tests.fuzz.fuzz import run_case
from tests.fuzz.targets import TARGETS

COUNTS = {"TfRecord": 60, "Images": 300, "Evaluators": 40}


@pytest.mark.parametrize("name", TARGETS)
def test_every_input_gets_an_answer(name, tmp_path):
    target, count = TARGETS[name](tmp_path), COUNTS.get(name, 250)
    refused = sum(run_case(target, name, seed) for seed in range(count))
    assert refused < count or name == "Converted"  # some damage is harmless
    assert refused > 0 or name in ("Evaluators", "RunLengths")
