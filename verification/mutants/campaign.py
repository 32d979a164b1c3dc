"""Draws mutants and finds out which of them the tests kill; what was found is kept between runs."""

import hashlib
import json
import pathlib
import queue
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

from verification.mutants import copies, equivalents
from verification.mutants.forks import Runner
from verification.mutants.reach import Reach
from verification.mutants.recording import digest
from verification.mutants.sites import Mutant

# of the tests that reach a mutant, so many seconds' worth run first, in a process that imports only these
QUICK_S = 15.0

# it holds the list of equivalent mutants against the lines: any mutant of such a line would be killed
BLIND = "tests/verification/test_mutants.py"


class Campaign:
    """One checkout, its copies and what is known of its mutants.

    Args:
        root: the checkout.
        folder: where copies, records and verdicts are kept between runs.
        jobs: processes that run tests.
        tests: folders or files of tests that count.
        budget: seconds' worth of tests that meet a mutant at most; 0: all that reach it.
    """

    def __init__(
        self, root: pathlib.Path, folder: pathlib.Path, jobs: int, tests: tuple[str, ...], budget: float = 0
    ) -> None:
        self.folder, self.tests, self.jobs, self.budget = folder, tests, jobs, budget
        self.records, self.log = folder / "reach", folder / "verdicts.jsonl"
        (self.records / "sources").mkdir(parents=True, exist_ok=True)
        self.state, self.commit = copies.state(root), copies.commit(root)
        self.verdicts = {}
        if self.log.exists():
            for line in self.log.read_text(encoding="utf-8").splitlines():
                verdict = json.loads(line)
                self.verdicts[verdict["key"]] = verdict
        # the checkout may change while tests run
        self.tree, self.paths = folder / "tree", copies.files(root)
        copies.renew(root, self.tree)
        self.runners = queue.SimpleQueue()
        for number in range(jobs):
            copy = folder / f"copy{number}"
            copies.renew(root, copy)
            self.runners.put(Runner(copy, folder / f"log{number}.txt"))

    def close(self) -> None:
        while not self.runners.empty():
            self.runners.get().close()

    def first(self) -> tuple[pathlib.Path, Runner]:
        """A copy and its runner, for a caller who gives no work to the others meanwhile."""
        runner = self.runners.get()
        self.runners.put(runner)
        return runner.copy, runner

    def _with_runner(self, function, *args):
        runner = self.runners.get()
        try:
            return function(runner, *args)
        finally:
            self.runners.put(runner)

    # ---- which tests execute a line

    def record(self, again: bool = False) -> Reach:
        """Records what the tests execute, as far as that is not known, and says what does not pass.

        Args:
            again: record all of them.
        """
        for path in self.tree.rglob("kdet/**/*.py"):
            raw = path.read_bytes()
            (self.records / "sources" / digest(raw)).write_bytes(raw)
        wanted = [file for file in self._test_files() if again or not self._is_recorded(file)]
        with ThreadPoolExecutor(self.jobs) as pool:
            for file, outcome in zip(wanted, pool.map(lambda f: self._with_runner(self._record, f), wanted)):
                failed = "" if outcome.passed or not outcome.reason else f", failed: {outcome.reason}"
                print(f"recorded {file}: {outcome.ran} tests, {outcome.seconds:.0f} s{failed}", flush=True)
        files = [self._target(file) for file in self._test_files()]
        return Reach(self.tree, self.records, [file for file in files if file.exists()])

    def _record(self, runner, file):
        return runner.record(file, self._target(file))

    def _target(self, file):
        return self.records / f"{file.replace('/', '+')}.json"

    def _is_recorded(self, file):
        target = self._target(file)
        if not target.exists():
            return False
        return json.loads(target.read_text(encoding="utf-8"))["digest"] == digest(
            (self.tree / file).read_bytes()
        )

    def _test_files(self):
        found = [path for path in self.paths if pathlib.PurePath(path).match("test_*.py")]
        wanted = [path for path in found if any(path == t or path.startswith(f"{t}/") for t in self.tests)]
        return [path for path in wanted if path != BLIND]

    # ---- mutants

    def draw(self, paths: list[str], seed: int, count: int) -> list[Mutant]:
        """``count`` mutants of some files; changed lines elsewhere, or another count, do not draw others."""
        found = [mutant for path in paths for mutant in equivalents.find(self.tree, path)]
        return sorted(found, key=lambda m: hashlib.sha256(f"{seed} {m.key}".encode()).digest())[:count]

    def judge(
        self, mutants: list[Mutant], reach: Reach, show: Callable[[Mutant, dict], None], again: bool = False
    ) -> Iterator[tuple[Mutant, dict]]:
        """``(mutant, verdict)``; a verdict has ``killed`` and ``by``: a test, or a reason of `forks.Outcome`.

        Args:
            mutants: what to judge.
            reach: of `record`.
            show: called with every verdict as it is found.
            again: judge those too that this state of the checkout has a verdict on.
        """
        named = equivalents.read(self.tree)

        def verdict(mutant):
            if mutant.key in named:
                return {"key": mutant.key, "killed": None, "by": named[mutant.key]}
            found = None if again else self.known(mutant)
            if found is None:
                found = self._with_runner(self._judge, mutant, reach)
                self.keep(found)
                show(mutant, found)
            return found

        with ThreadPoolExecutor(self.jobs) as pool:
            yield from zip(mutants, pool.map(verdict, mutants))

    def _judge(self, runner, mutant, reach):
        start = time.monotonic()
        source = (self.tree / mutant.path).read_text(encoding="utf-8")
        changed = {mutant.path: mutant.apply(source)}
        killed, by = False, "" if reach.tests(mutant) else "no test executes it"
        before = self.verdicts.get(mutant.key, {}).get("by")
        for tests in rounds(reach.tests(mutant), before, reach, self.budget):
            outcome = runner.run(tests, 3 * sum(reach.seconds[test] for test in tests) + 60, changed)
            if not outcome.passed:
                killed, by = True, outcome.reason
                break
        return self.verdict(mutant, killed, by, time.monotonic() - start)

    # ---- what was found

    def verdict(self, mutant: Mutant, killed: bool, by: str, seconds: float) -> dict:
        """What is kept of a mutant."""
        here = {"state": self.state, "tests": [*self.tests, self.budget]}
        return {"key": mutant.key, "killed": killed, "by": by, "seconds": round(seconds, 1), **here}

    def known(self, mutant: Mutant) -> dict | None:
        """The verdict on a mutant that was found with the checkout as it is."""
        known = self.verdicts.get(mutant.key, {})
        is_valid = known.get("state") == self.state and known.get("tests") == [*self.tests, self.budget]
        return known if is_valid else None

    def survived(self, mutant: Mutant) -> bool:
        """Whether a mutant survived when it was last judged, with whatever tests."""
        return self.verdicts.get(mutant.key, {}).get("killed") is False

    def keep(self, verdict: dict) -> None:
        """Writes a verdict down."""
        self.verdicts[verdict["key"]] = verdict
        with self.log.open("a", encoding="utf-8") as log:
            log.write(json.dumps(verdict) + "\n")


def rounds(tests: list[str], before: str | None, reach: Reach, budget: float = 0) -> list[list[str]]:
    """The tests that are to meet a mutant, in parts: every part is run in a process of its own.

    Args:
        tests: those that reach it, in the order of `Reach.tests`.
        before: what killed the mutant in an earlier state of the checkout comes first.
        reach: how long they take, and what else stands in their files, which comes last.
        budget: see `Campaign`.
    """
    known = [before] if before in reach.seconds else []
    quick, spent = [], 0.0
    for test in tests:
        if spent + reach.seconds[test] <= QUICK_S:
            quick.append(test)
            spent += reach.seconds[test]
    taken = {*quick}
    rest = [test for test in tests if test not in taken] + reach.companions(tests)
    while budget and rest and spent + sum(reach.seconds[test] for test in rest) > budget:
        rest.pop()
    return [part for part in (known, quick, rest) if part] if tests else []
