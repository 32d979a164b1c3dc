"""Runs tests in forked processes, so that TensorFlow is imported once for all of them.

``python -m verification.mutants.forks`` (started by `Runner`, in a copy of the checkout) imports what kdet
and its tests import from elsewhere, but nothing of kdet. It forks a process for every question that comes
as a line of JSON and answers with how the tests ended there. TensorFlow works after a fork as long as no op
ran and no threads were started before it, which importing it does not do.
"""

import contextlib
import dataclasses
import importlib
import json
import os
import pathlib
import resource
import signal
import sys
import time

from verification.isolated import Isolated

PRELOADED = """
    tensorflow keras numpy scipy.optimize scipy.ndimage pytest coverage yaml PIL.Image pycocotools.coco
    pycocotools.cocoeval faster_coco_eval supervision ai_edge_litert.interpreter
    tensorflow.lite.python.schema_py_generated tensorflow_serving.apis pooch requests
""".split()

# bytes; a size that a mutant blows up must not take the machine with it
MEMORY = 10 * 2**30


@dataclasses.dataclass
class Outcome:
    """How tests ended.

    Attributes:
        passed: all of them passed, and there were some.
        reason: what failed first: a test, ``import`` (a test file could not be imported), ``timeout`` or
            ``crash``; empty where all passed.
        ran: number of tests that were run.
        seconds: what it took.
    """

    passed: bool
    reason: str
    ran: int
    seconds: float


class Runner:
    """Runs tests of one copy of the checkout.

    Args:
        copy: folder of the copy, whose files `run` changes and restores.
        log: file for what the tests print.
    """

    def __init__(self, copy: pathlib.Path, log: pathlib.Path) -> None:
        environment = {**os.environ, "PYTHONPATH": str(copy), "TF_CPP_MIN_LOG_LEVEL": "3"}
        command = [sys.executable, "-m", "verification.mutants.forks", str(log)]
        self.copy = copy
        # the questions bring their own limits
        self.process = Isolated(command, limit_s=24 * 3600, renew=None, cwd=copy, env=environment)

    def run(self, tests: list[str], limit_s: float, changed: dict[str, str] | None = None) -> Outcome:
        """Runs tests until the first one fails.

        Args:
            tests: their node ids, in the order to run them.
            limit_s: seconds until they are ended.
            changed: ``{path: text}`` of files that differ while they run.
        """
        question = {"tests": tests, "limit_s": limit_s, "changed": changed or {}}
        return Outcome(**self.process.ask(question))

    def record(self, file: str, target: pathlib.Path) -> Outcome:
        """Runs a test file and writes what its tests execute to ``target`` (see `recording`).

        What it prints, warnings among it, comes into a file of text beside it.
        """
        question = {"record": file, "target": str(target), "log": str(target.with_suffix(".txt"))}
        return Outcome(**self.process.ask({**question, "limit_s": 3600}))

    def close(self) -> None:
        self.process.close()


def main(log: pathlib.Path) -> None:
    for name in PRELOADED:
        with contextlib.suppress(ImportError), contextlib.redirect_stdout(sys.stderr):
            importlib.import_module(name)
    for number, line in enumerate(sys.stdin):
        question = json.loads(line)
        with _changed(question.get("changed", {}), number):
            answer = _forked(question, pathlib.Path(question.get("log", log)))
        print(json.dumps(answer), flush=True)


@contextlib.contextmanager
def _changed(texts, number):
    """Files with another text. Their times are like no other's, so that no bytecode of theirs is taken up."""
    before = {path: (pathlib.Path(path).read_bytes(), os.stat(path)) for path in texts}
    try:
        for path, text in texts.items():
            pathlib.Path(path).write_text(text, encoding="utf-8")
            os.utime(path, (time.time() + number, 10**9 + os.getpid() * 1000 + number))
        yield
    finally:
        for path, (raw, status) in before.items():
            pathlib.Path(path).write_bytes(raw)
            os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def _forked(question, log):
    start = time.monotonic()
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        os.setsid()
        resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
        with open(log, "w") as printed, open(os.devnull) as nothing:
            os.dup2(nothing.fileno(), 0)
            os.dup2(printed.fileno(), 1)
            os.dup2(printed.fileno(), 2)
        try:
            answer = _record(question) if "record" in question else _run(question["tests"])
            with os.fdopen(writing, "w") as stream:
                json.dump(answer, stream)
        finally:
            os._exit(0)
    os.close(writing)
    late = not _ended(child, os.getppid(), start + question["limit_s"])
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)  # what the tests started and left, too
    if late:
        os.waitpid(child, 0)
    with os.fdopen(reading) as stream:
        said = stream.read()
    answer = (
        json.loads(said) if said else {"passed": False, "reason": "timeout" if late else "crash", "ran": 0}
    )
    return {**answer, "seconds": round(time.monotonic() - start, 2)}


def _ended(child, asker, deadline):
    """Whether a child ends before the deadline, and before the process that asks is gone."""
    while time.monotonic() < deadline and os.getppid() == asker:
        if os.waitpid(child, os.WNOHANG)[0]:
            return True
        time.sleep(0.02)
    return False


# ---- in the forked process


def _run(tests):
    import pytest

    chosen = Chosen(tests)
    files = list(dict.fromkeys(test.split("::")[0] for test in tests))
    with contextlib.redirect_stdout(sys.stderr):
        code = pytest.main(["-x", "-q", "-p", "no:cacheprovider", *files], plugins=[chosen])
    passed = code == 0 and chosen.ran > 0
    return {"passed": passed, "reason": chosen.failed or ("" if passed else "import"), "ran": chosen.ran}


def _record(question):
    from verification.mutants import recording

    return recording.record(question["record"], pathlib.Path(question["target"]))


class Chosen:
    """A plugin of pytest that runs some tests in a given order and notes the first that fails."""

    def __init__(self, tests):
        self.rank, self.failed, self.ran = {test: rank for rank, test in enumerate(tests)}, None, 0

    def pytest_collection_modifyitems(self, items):
        # one that a mutant renamed is not run, which does not kill it
        items[:] = sorted((item for item in items if item.nodeid in self.rank), key=self._rank)

    def _rank(self, item):
        return self.rank[item.nodeid]

    def pytest_runtest_logreport(self, report):
        self.ran += report.when == "call"
        if report.failed and self.failed is None:
            self.failed = report.nodeid


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
