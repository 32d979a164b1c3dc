"""The matrix of versions: what it runs, and what its page says."""

import json

from verification import matrix


def test_the_environments_are_those_of_pyproject():
    known = matrix.environments()
    assert known["oldest"].python == "3.10"
    assert known["oldest"].pins == ("tensorflow==2.20.0", "keras==3.12.0", "numpy==1.26.0")
    assert [name for name, one in known.items() if one.candidates] == ["candidate"]


def test_the_committed_page_is_up_to_date():
    results = json.loads(matrix.STORE.read_text(encoding="utf-8"))
    assert matrix.PAGE.read_text(encoding="utf-8") == matrix.page(results)
    assert {"oldest", "newest"} <= results.keys()


def test_a_second_run_is_said():
    result = {"passed": 10, "skipped": 2, "failures": ["a", "b"]}
    assert matrix.verdict(result) == "10 passed, **2 failed**, 2 skipped"
    result = {"passed": 10, "skipped": 2, "failures": ["a"], "later": {"b": "1234567890"}}
    assert matrix.verdict(result) == "11 passed (1 in a second run), **1 failed**, 2 skipped"
