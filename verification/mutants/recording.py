"""Records which lines of kdet each test of a file executes. Runs in a process of its own (see `forks`)."""

import contextlib
import functools
import hashlib
import json
import os
import pathlib
import sys
import tempfile
import threading

import coverage
import pytest

SHARED = "shared"
# tells processes that a test starts which test it is
CONTEXT = "KDET_MUTANTS_CONTEXT"


def record(file: str, target: pathlib.Path) -> dict:
    """Runs a test file under `coverage` and writes what its tests execute.

    What a fixture of more than one test executes counts for all tests of the file. The written JSON holds
    ``tests``: ``{node id: {"seconds", "outcome", "lines": {path: mask}}}`` with a mask's bit n set for line n
    (hexadecimal), ``shared``: such lines of the file's wide fixtures, ``digest`` of the test file, and
    ``sources``: ``{path: digest}`` of the files of kdet that were executed.

    Args:
        file: the test file, relative to the working folder.
        target: the JSON file.

    Returns:
        What `forks.Outcome` has, without the seconds.
    """
    here = pathlib.Path.cwd()
    source = str(here / "kdet")
    measuring = coverage.Coverage(data_file=None, source=[source], config_file=False, messages=False)
    with tempfile.TemporaryDirectory() as folder:
        _measure_subprocesses(pathlib.Path(folder), here)
        measuring.start()
        _trace_inside_graphs()
        recorder = _Recorder(measuring)
        with contextlib.redirect_stdout(sys.stderr):
            pytest.main(["-q", "-p", "no:cacheprovider", file], plugins=[recorder])
        measuring.stop()
        masks = {}
        _add(measuring.get_data(), here, masks)
        for part in pathlib.Path(folder).glob(".coverage.*"):
            data = coverage.CoverageData(str(part))
            data.read()
            _add(data, here, masks)
    shown = {context: {path: f"{mask:x}" for path, mask in lines.items()} for context, lines in masks.items()}
    paths = sorted({path for lines in masks.values() for path in lines})
    tests = {test: {**rest, "lines": shown.get(test, {})} for test, rest in recorder.tests.items()}
    written = {
        "digest": digest(pathlib.Path(file).read_bytes()),
        "sources": {path: digest(pathlib.Path(path).read_bytes()) for path in paths},
        "shared": shown.get(SHARED, {}),
        "tests": tests,
    }
    target.write_text(json.dumps(written), encoding="utf-8")
    failed = [test for test, rest in tests.items() if rest["outcome"] == "failed"]
    return {"passed": bool(tests) and not failed, "reason": ", ".join(failed), "ran": len(tests)}


def _add(data, here, masks):
    """Adds measured lines to ``{context: {path: mask}}``."""
    for path in data.measured_files():
        name = str(pathlib.Path(path).relative_to(here))
        for line, contexts in data.contexts_by_lineno(path).items():
            for context in contexts:
                lines = masks.setdefault(context, {})
                lines[name] = lines.get(name, 0) | 1 << line


def _measure_subprocesses(folder, here):
    """Makes Python processes that tests start measure themselves into files of a folder."""
    rules = ["[run]", f"source = {here / 'kdet'}", "parallel = true", f"data_file = {folder}/.coverage"]
    (folder / "rules").write_text("\n".join([*rules, f"context = ${{{CONTEXT}}}", ""]))
    os.environ["COVERAGE_PROCESS_START"] = str(folder / "rules")
    # where tests let their processes look for kdet
    (here / "sitecustomize.py").write_text("import coverage\n\ncoverage.process_startup()\n")


def digest(raw: bytes) -> str:
    return hashlib.sha256(raw).hexdigest()[:16]


def _trace_inside_graphs():
    """Makes functions be traced that TensorFlow calls: in its own threads, and as AutoGraph rewrites them."""
    import tensorflow as tf

    def traced(function):
        @functools.wraps(function)
        def run(*args, **kwargs):
            if sys.gettrace() is None:
                sys.settrace(threading.gettrace())
            return function(*args, **kwargs)

        return run

    def wrap(owner, name, change):
        original = getattr(owner, name)

        @functools.wraps(original)
        def run(*args, **kwargs):
            return original(*change(args), **kwargs)

        setattr(owner, name, run)

    for name in ("numpy_function", "py_function"):
        wrap(tf, name, lambda args: (traced(args[0]), *args[1:]))
    plain = tf.autograph.experimental.do_not_convert
    for name in ("map", "filter", "flat_map", "interleave"):
        wrap(tf.data.Dataset, name, lambda args: (args[0], plain(args[1]), *args[2:]))
    tf.function = functools.partial(tf.function, autograph=False)


class _Recorder:
    def __init__(self, measuring):
        self.measuring, self.tests, self.now = measuring, {}, ""

    def _switch(self, context):
        self.now = os.environ[CONTEXT] = context
        self.measuring.switch_context(context)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item):
        self.tests[item.nodeid] = {"seconds": 0.0, "outcome": "passed"}
        self._switch(item.nodeid)
        try:
            return (yield)
        finally:
            self._switch("")

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(self, fixturedef):
        before = self.now
        if fixturedef.scope != "function":
            self._switch(SHARED)
        try:
            return (yield)
        finally:
            self._switch(before)

    def pytest_runtest_logreport(self, report):
        test = self.tests[report.nodeid]
        test["seconds"] = round(test["seconds"] + report.duration, 3)
        if report.outcome != "passed":
            test["outcome"] = report.outcome
