"""Mutants: what is changed and what is left alone, which tests are asked, what the list and the page say."""

import json
import textwrap

import pytest

from verification.mutants import equivalents, kernel_sites, kernels, report, sites
from verification.mutants.campaign import rounds
from verification.mutants.reach import Reach


def mutations(source):
    return [mutant.mutation for mutant in sites.find(textwrap.dedent(source), "a.py")]


@pytest.mark.parametrize(
    "source, expected",
    [
        ("a < b", ["a < b -> a <= b"]),
        ("(a + b) * c", ["a + b -> a - b", "(a + b) * c -> (a + b) / c"]),
        ("x = -y", ["-y -> (y)"]),
        ("x = -1", ["1 -> 2"]),
        ("x = 0.5, 0.0, 1e-6", ["0.5 -> 0.55", "0.0 -> 0.1", "1e-6 -> 0.001"]),
        ("x = a if b else c", ["b -> (not (b))"]),
        ("[i for i in j if i]", ["i -> (not (i))"]),
        ("a and b and c", ["a and b and c -> (a) or (b) or (c)"]),
        ("tf.maximum(a, b)", ["tf.maximum -> tf.minimum"]),
        ("f(a, b=c, name=d)", ["b=c -> dropped"]),
        ("def f(a=True): pass", ["True -> False"]),
        ('x = "a" + b', []),
        ('raise ValueError(1, f"{2}")', []),
        ("if a > 1:\n    raise ValueError\n", []),
        ("x: Literal[1]\ndef f(a: Literal[1] = b) -> Literal[2]: pass", []),
        ("assert a < 1", []),
        ("_log.warning('%s', a + 1)", []),
    ],
)
def test_changes(source, expected):
    assert mutations(source) == expected


@pytest.mark.parametrize(
    "call, without",
    [
        ("f(a, b=1)", "f(a)"),
        ("f(b=1)", "f()"),
        ("f(b=1, c=d)", "f( c=d)"),
        ("f((a), b=1, c=d)", "f((a), c=d)"),
        ("f(a, b=(1),)", "f(a,)"),
    ],
)
def test_arguments_are_left_out_with_their_comma(call, without):
    found = [mutant for mutant in sites.find(call, "a.py") if mutant.mutation.startswith("b=")]
    assert [mutant.apply(call) for mutant in found] == [without]


KERNEL = """\
#define SIZE 4 + 4
constexpr int kBlock = 64;
// a < b
template <typename T>
int f(const T* from, int n) {
  OP_REQUIRES(context, n < 5, errors::InvalidArgument("n < ", 5));
  if (n > 4) {
    return errors::InvalidArgument("n + 1");
  }
  for (int i = 0; i < n; ++i) sum += std::min(from[i], 0.5f);
}
"""


def test_changes_of_kernels():
    found = [(mutant.line, mutant.kind, mutant.piece) for mutant in kernel_sites.find(KERNEL, "a.h")]
    assert found == [
        (10, "constant", "1"),
        (10, "comparison", "<="),
        (10, "operator", "-="),
        (10, "opposite", "std::max"),
        (10, "constant", "0.55"),
    ]
    changed = kernel_sites.find(KERNEL, "a.h")[1]
    assert changed.after in changed.apply(KERNEL) and "i <= n" in changed.after


SOURCE = textwrap.dedent(
    """\
    LIMIT = 3


    class Head:
        width = 4

        def call(self, x, scale=2):
            y = f(
                x + scale,
            )
            return y
    """
)


def test_places_say_which_lines_show_the_change():
    places = {m.before: (m.scope, m.lines, m.within, m.assigned) for m in sites.find(SOURCE, "a.py")}
    assert places == {
        "3": ("", (1, 1), (1, 11), ("LIMIT",)),
        "4": ("Head", (5, 5), (4, 11), ("Head", "width")),
        "2": ("Head.call", (7, 7), (8, 11), ()),
        "x + scale": ("Head.call", (8, 10), None, ("y",)),
    }


def test_keys_outlive_changes_of_other_lines_and_tell_equal_changes_apart():
    before = [mutant.key for mutant in sites.find("a = 1 + 1\n", "a.py")]
    after = [mutant.key for mutant in sites.find("# new\nb = 2\na = 1 + 1\n", "a.py")]
    assert len(set(before)) == 3 and after[1:] == before


@pytest.fixture
def checkout(tmp_path):
    """A file, tests that were recorded when it had one line less, and another file that names its limit."""
    (tmp_path / "kdet").mkdir()
    (tmp_path / "records" / "sources").mkdir(parents=True)
    (tmp_path / "kdet" / "a.py").write_text("# new\n" + SOURCE)
    (tmp_path / "kdet" / "b.py").write_text("import a\n\n\ndef g():\n    return a.LIMIT\n")
    (tmp_path / "records" / "sources" / "old").write_text(SOURCE)
    lines = {
        "t.py::call": {"kdet/a.py": 1 << 8 | 1 << 9},
        "t.py::g": {"kdet/b.py": 1 << 5},
        "u.py::other": {},
    }
    tests = {
        name: {
            "seconds": 1.0,
            "outcome": "passed",
            "lines": {path: f"{mask:x}" for path, mask in found.items()},
        }
        for name, found in lines.items()
    }
    tests["t.py::broken"] = {"seconds": 1.0, "outcome": "failed", "lines": {}}
    record = {"tests": tests, "shared": {}, "sources": {"kdet/a.py": "old", "kdet/b.py": "same"}}
    (tmp_path / "records" / "t.json").write_text(json.dumps(record))
    return tmp_path


def test_reach_follows_lines_that_moved(checkout):
    folder = checkout / "records"
    reach = Reach(checkout, folder, [folder / "t.json"])
    mutants = {m.before: m for m in sites.find((checkout / "kdet" / "a.py").read_text(), "kdet/a.py")}
    assert reach.tests(mutants["x + scale"]) == ["t.py::call"]
    # of an import: tests that execute nothing may read the files
    assert sorted(reach.tests(mutants["2"])) == ["t.py::call", "u.py::other"]
    assert sorted(reach.tests(mutants["3"])) == ["t.py::call", "t.py::g", "u.py::other"]
    assert reach.companions(["t.py::call"]) == ["t.py::g"]
    assert reach.broken == ["t.py::broken"] and "t.py::broken" not in reach.seconds


def test_quick_tests_run_first_and_what_killed_before_before_them(checkout):
    folder = checkout / "records"
    reach = Reach(checkout, folder, [folder / "t.json"])
    reach.seconds["t.py::call"] = 20.0
    parts = rounds(["t.py::call", "u.py::other"], "t.py::call", reach)
    assert parts == [["t.py::call"], ["u.py::other"], ["t.py::call", "t.py::g"]]
    assert rounds(["u.py::other"], "timeout", reach) == [["u.py::other"]]
    assert rounds([], "t.py::call", reach) == []


def test_a_changed_op_meets_its_own_tests_and_those_of_no_op(checkout):
    reach = Reach(checkout, checkout, [])
    for name in (
        "test_nms.py::a",
        "test_every_op.py::b[carafe]",
        "test_graphs.py::c",
        "test_every_op.py::d[nms]",
    ):
        reach.seconds[f"tests/ops/{name}"] = 1.0
    parts = kernels.rounds(["nms"], ["nms", "carafe"], reach)
    own = ["tests/ops/test_every_op.py::d[nms]", "tests/ops/test_nms.py::a"]
    assert [sorted(part) for part in parts] == [own, ["tests/ops/test_graphs.py::c"]]


def entry(**changes):
    return {"file": "a.py", "line": "a = b + c", "mutation": "b + c -> b - c", "reason": "c is 0", **changes}


def read(tmp_path, *entries):
    file = tmp_path / "equivalent.yaml"
    file.write_text(json.dumps(entries))
    (tmp_path / "a.py").write_text("a = b + c\n")
    return equivalents.read(tmp_path, file)


def test_equivalent_mutants_have_a_reason(tmp_path):
    assert list(read(tmp_path, entry()).values()) == ["c is 0"]


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"line": "a = b"}, "no mutant of a.py is 'b \\+ c -> b - c' on the line 'a = b'"),
        ({"file": "gone.py"}, "there is no file gone.py"),
        ({"reason": ""}, "an entry has the fields"),
        ({"more": "x"}, "an entry has the fields"),
    ],
)
def test_entries_that_match_nothing_are_errors(tmp_path, changes, message):
    with pytest.raises(equivalents.EquivalentsError, match=message):
        read(tmp_path, entry(**changes))


def test_the_list_of_the_project_matches_its_sources():
    equivalents.read(report.ROOT)


def test_scores_leave_equivalent_mutants_out():
    mutant = sites.find("a < b", "a.py")[0]
    judged = [(mutant, {"killed": killed}) for killed in (True, True, True, False, None)]
    rooms = report.count_by_room(judged, {"a.py": "heads"})
    assert rooms == {"heads": {"killed": 3, "survived": 1, "equivalent": 1}}
    result = report.entry(7, 5, "abc", 95, rooms, [report.survivor(mutant, "a < b\n", "no test executes it")])
    assert result["score"] == 75.0
    lines = report.page({"models": result}).splitlines()
    assert "| heads | 5 | 3 | 1 | 1 | 75.0 % |" in lines
    assert "- `a.py:1`: `a < b -> a <= b` (no test executes it)" in lines
    assert result["survivors"][0]["diff"] == ["-a < b", "+a <= b"]
