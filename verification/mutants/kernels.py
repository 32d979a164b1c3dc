"""Mutants of the C++ kernels: each is compiled as far as needed, linked, and met by the tests of the ops.

What does not compile, or compiles to the same machine code (dead branches, code for other processors, a
change the compiler sees through), is no mutant; others are drawn in its place.
"""

import contextlib
import dataclasses
import hashlib
import importlib.util
import os
import pathlib
import subprocess
import time
from collections.abc import Callable, Iterator

from verification.mutants import equivalents, kernel_sites
from verification.mutants.campaign import Campaign
from verification.mutants.reach import Reach
from verification.mutants.sites import Mutant

TESTS = "tests/ops"
# what TensorFlow's headers cost every unit, precompiled
HEADERS = ("op.h", "op_kernel.h", "shape_inference.h")


@dataclasses.dataclass(frozen=True)
class Unit:
    """A source, and the instruction set that it is compiled for: None for what runs on any processor."""

    source: pathlib.Path
    cpu: str | None = None

    @property
    def name(self) -> str:
        return self.source.stem if self.cpu is None else f"{self.source.stem}_{self.cpu}"


class Builder:
    """Compiles the ops of a copy, one object per op and instruction set.

    Args:
        copy: copy of the checkout.
        folder: where objects are kept.
    """

    def __init__(self, copy: pathlib.Path, folder: pathlib.Path) -> None:
        self.copy, self.folder = copy, folder
        spec = importlib.util.spec_from_file_location("build", copy / "kdet" / "ops" / "build.py")
        self.build = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(self.build)
        self.sources = copy / "custom_ops"
        # in the order in which the linker must see them
        self.units = [Unit(path) for path in sorted(self.sources.glob("*/*_op.cc"))]
        self.units.append(Unit(self.sources / "common" / "instruction_set.cc"))
        for cpu in self.build.instruction_sets():
            self.units += [Unit(path, cpu) for path in sorted(self.sources.glob("*/*_cpu.cc"))]
        found = self.build.find_tensorflow()
        flags = [*self.build.OPTIONS, f"-I{self.sources}", *found["flags"]]
        self.compile = [self.build.find_compiler(), *flags]
        self.link = [*found["link"], "-ldl", "-lrt", "-lpthread"]

    def prepare(self) -> None:
        """Compiles everything that is not there yet."""
        self.folder.mkdir(parents=True, exist_ok=True)
        header = self.folder / "tensorflow_headers.h"
        text = "".join(f'#include "tensorflow/core/framework/{name}"\n' for name in HEADERS)
        if not header.exists():
            header.write_text(text)
            self._run([*self.compile, "-x", "c++-header", str(header), "-o", f"{header}.gch"])
        self.header = header
        state, stamp = self.build.sources_digest(), self.folder / "sources"
        if not stamp.exists() or stamp.read_text() != state:
            for unit in self.units:
                self._run(self._command(unit, self._object(unit)))
                print(f"compiled {unit.name}", flush=True)
            stamp.write_text(state)

    def library(self, path: str, text: str, target: pathlib.Path) -> list[str]:
        """Links the library with one file changed.

        Args:
            path: the file, relative to the checkout.
            text: its changed text.
            target: the library.

        Returns:
            The folders of the ops that are different; none where it does not compile or nothing differs.
        """
        objects, different = {unit: self._object(unit) for unit in self.units}, []
        with _written(self.copy / path, text):
            for unit in self.units:
                if str(self.copy / path) not in self._object(unit).with_suffix(".d").read_text().split():
                    continue
                changed = self.folder / f"changed_{unit.name}.o"
                try:
                    self._run(self._command(unit, changed))
                except RuntimeError:
                    return []
                if changed.read_bytes() != self._object(unit).read_bytes():
                    objects[unit] = changed
                    different.append(unit.source.parent.name)
        if different:
            command = [self.compile[0], "-shared", *map(str, objects.values()), "-o", str(target)]
            self._run([*command, *self.link])
        return sorted(set(different))

    def _object(self, unit):
        return self.folder / f"{unit.name}.o"

    def _command(self, unit, target):
        if unit.cpu is None:
            options = ["-include", str(self.header)]
        else:
            options = [*self.build.instruction_sets()[unit.cpu], f"-DKDET_ISA={unit.cpu}"]
        return [
            *self.compile,
            *options,
            "-MMD",
            "-MF",
            str(target.with_suffix(".d")),
            "-c",
            str(unit.source),
            "-o",
            str(target),
        ]

    def _run(self, command):
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(done.stderr[-2000:])


@contextlib.contextmanager
def _written(path, text):
    before = path.read_text(encoding="utf-8")
    path.write_text(text, encoding="utf-8")
    try:
        yield
    finally:
        path.write_text(before, encoding="utf-8")


def draw(root: pathlib.Path, seed: int) -> Iterator[Mutant]:
    """The mutants of all kernels, in the order in which a seed draws them."""
    found = []
    for path in kernel_sites.files(root):
        found += kernel_sites.find((root / path).read_text(encoding="utf-8"), path)
    yield from sorted(found, key=lambda m: hashlib.sha256(f"{seed} {m.key}".encode()).digest())


def judge(
    campaign: Campaign,
    seed: int,
    count: int,
    reach: Reach,
    show: Callable[[Mutant, dict], None],
    survivors: bool = False,
) -> list[tuple[Mutant, dict]]:
    """``(mutant, verdict)`` of ``count`` mutants, see `Campaign.judge`.

    Args:
        survivors: of these only the ones that survived last time.
    """
    named = equivalents.read(campaign.tree)
    copy, runner = campaign.first()
    builder = Builder(copy, campaign.folder / "kernels")
    builder.prepare()
    judged = []
    for mutant in draw(campaign.tree, seed):
        if len(judged) == count:
            break
        if mutant.key in named:
            judged.append((mutant, {"key": mutant.key, "killed": None, "by": named[mutant.key]}))
            continue
        verdict = campaign.known(mutant)
        if survivors:
            verdict = None if campaign.survived(mutant) else campaign.verdicts.get(mutant.key)
        if verdict is None:
            verdict = _judge(campaign, builder, runner, copy, mutant, reach)
            campaign.keep(verdict)
            show(mutant, verdict)
        if not verdict.get("void"):
            judged.append((mutant, verdict))
    return judged


def _judge(campaign, builder, runner, copy, mutant, reach):
    start = time.monotonic()
    source = (campaign.tree / mutant.path).read_text(encoding="utf-8")
    library = builder.folder / "libkdet_ops.so"
    different = builder.library(mutant.path, mutant.apply(source), library)
    killed, by = False, "" if different else "does not compile, or to the same code"
    if different:
        installed = copy / "kdet" / "ops" / "libkdet_ops.so"
        kept = installed.with_suffix(".kept")
        os.replace(installed, kept)
        os.replace(library, installed)
        try:
            for tests in rounds(different, [unit.source.parent.name for unit in builder.units], reach):
                outcome = runner.run(tests, 3 * sum(reach.seconds[test] for test in tests) + 60)
                if not outcome.passed:
                    killed, by = True, outcome.reason
                    break
        finally:
            os.replace(kept, installed)
    return campaign.verdict(mutant, killed, by, time.monotonic() - start) | (
        {} if different else {"void": True, "killed": None}
    )


def rounds(changed: list[str], ops: list[str], reach: Reach) -> list[list[str]]:
    """Tests in the order to run them: those that name a changed op, then those that name no other.

    Args:
        changed: folders of ops whose code differs.
        ops: those of all ops.
        reach: how long tests take.
    """
    tests = reach.ordered(test for test in reach.seconds if test.startswith(f"{TESTS}/"))
    own = [test for test in tests if any(op in test for op in changed)]
    general = [test for test in tests if not any(op in test for op in ops)]
    return [part for part in (own, general) if part]
