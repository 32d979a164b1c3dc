"""Which tests execute a line: recorded once, carried over to changed files, kept in an ignored folder."""

import collections
import difflib
import functools
import json
import pathlib
import re
from collections.abc import Iterable

from verification.mutants.sites import Mutant


class Reach:
    """What the recorded tests execute.

    Args:
        root: the checkout.
        folder: has the texts of the recorded sources in ``sources``, by their digests.
        records: what `forks.Runner.record` wrote.

    Attributes:
        seconds: ``{test: what it takes}`` of the tests that pass.
        broken: tests that fail without a mutant.
    """

    def __init__(self, root: pathlib.Path, folder: pathlib.Path, records: Iterable[pathlib.Path]) -> None:
        self.root, self.folder = root, folder
        self.seconds: dict[str, float] = {}
        self.broken: list[str] = []
        self._masks: dict[str, dict[str, int]] = collections.defaultdict(dict)  # {path: {test: mask}}
        self._breadth: dict[str, int] = collections.Counter()
        for record in records:
            self._read(json.loads(record.read_text(encoding="utf-8")))

    def _read(self, record):
        for test, found in record["tests"].items():
            if found["outcome"] != "passed":
                self.broken += [test] if found["outcome"] == "failed" else []
                continue
            self.seconds[test] = found["seconds"]
            for path in found["lines"].keys() | record["shared"].keys():
                mask = int(found["lines"].get(path, "0"), 16) | int(record["shared"].get(path, "0"), 16)
                self._breadth[test] += mask.bit_count()
                self._masks[path][test] = self._carried(path, record["sources"][path], mask)

    def _carried(self, path, digest, mask):
        """A mask of lines of a recorded file for the file as it is."""
        moved = self._moved(path, digest)
        if moved is None:
            return mask
        return sum({1 << new for old, news in moved.items() if mask >> old & 1 for new in news})

    @functools.cache  # noqa: B019 - lives as long as the command
    def _moved(self, path, digest):
        """``{line: lines of the file as it is}``, new ones with their neighbors; None where nothing moved."""
        now, then = self.root / path, self.folder / "sources" / digest
        if not now.exists() or not then.exists():
            return {}
        now, then = (file.read_text(encoding="utf-8").splitlines() for file in (now, then))
        if now == then:
            return None
        moved = {}
        for kind, a, b, c, d in difflib.SequenceMatcher(None, then, now, autojunk=False).get_opcodes():
            if kind == "equal":
                moved.update({a + i + 1: {c + i + 1} for i in range(b - a)})
            elif kind in ("replace", "insert"):
                for old in range(a + 1, b + 1) if b > a else (a, a + 1):
                    moved.setdefault(old, set()).update(range(c + 1, d + 1))
        return moved

    def tests(self, mutant: Mutant) -> list[str]:
        """The tests that execute a mutant's line, those first that are short and touch little."""
        if mutant.within is None:
            found = self._touching(mutant.path, *mutant.lines)
        else:
            found = self._touching(mutant.path, *mutant.within)
            if mutant.assigned or not found:
                found |= self._using(mutant.path, mutant.assigned)
            # tests that execute nothing of kdet may read its files
            found |= {test for test in self.seconds if not self._breadth[test]}
        return self.ordered(found)

    def ordered(self, tests: Iterable[str]) -> list[str]:
        """Tests by what they cost, those of one file together."""
        cost = {test: (self.seconds[test] + 0.1) * (self._breadth[test] + 100) for test in tests}
        files = {}
        for test in cost:
            file = test.split("::")[0]
            files[file] = min(files.get(file, cost[test]), cost[test])
        return sorted(cost, key=lambda test: (files[test.split("::")[0]], test.split("::")[0], cost[test]))

    def companions(self, tests: Iterable[str]) -> list[str]:
        """The other tests of the files of ``tests``: what one of them makes and keeps, the others use."""
        files = {test.split("::")[0] for test in tests}
        return self.ordered(t for t in self.seconds if t.split("::")[0] in files and t not in set(tests))

    def _touching(self, path, first, last):
        wanted = (1 << last + 1) - (1 << first)
        return {test for test, mask in self._masks[path].items() if mask & wanted}

    def _using(self, path, names):
        """Tests that run a function of a file, or of another one that names what it assigns."""
        found = set()
        word = re.compile(r"\b(" + "|".join(map(re.escape, names)) + r")\b") if names else None
        for other in list(self._masks):
            if other == path or (word and word.search(self._text(other))):
                found |= self._masks[other].keys()
        return found

    @functools.cache  # noqa: B019
    def _text(self, path):
        return (self.root / path).read_text(encoding="utf-8") if (self.root / path).exists() else ""
