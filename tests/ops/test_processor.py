"""The instruction set that compiled ops take their kernels of."""

import platform
import re
import shutil
import subprocess

import pytest
import tensorflow as tf

from kdet import cli, ops
from kdet.errors import KdetError
from kdet.ops import build, compiled, dispatch, processor

pytestmark = pytest.mark.skipif(compiled.why_not() is not None, reason=str(compiled.why_not()))
# registers and instructions that the baseline has not
WIDE = re.compile(r"%[yz]mm\d|\tv[a-z]\w+ ")
WIDER = re.compile(r"%zmm\d|%[xy]mm(1[6-9]|2\d|3[01])\b|%k[0-7]\b")


def test_the_best_is_taken(monkeypatch):
    monkeypatch.delenv("KDET_CPU", raising=False)
    here = processor.cpus()
    assert here[0] == "baseline" and set(here) <= set(build.instruction_sets()) <= set(processor.CPUS)
    with processor.use_cpu(None):
        assert processor.cpu() == here[-1]


def test_a_choice_ends_with_its_block():
    before = processor.cpu()
    with processor.use_cpu("baseline"):
        assert processor.cpu() == "baseline"
        with processor.use_cpu(processor.cpus()[-1]):
            assert processor.cpu() == processor.cpus()[-1]
        assert processor.cpu() == "baseline"
    assert processor.cpu() == before


def test_the_environment_chooses(monkeypatch):
    monkeypatch.setenv("KDET_CPU", "baseline")
    with processor.use_cpu(None):
        assert processor.cpu() == "baseline"


def test_an_unknown_one_is_refused(monkeypatch):
    with pytest.raises(KdetError, match="use_cpu names the instruction set 'sse9', which kdet does not know"):
        processor.use_cpu("sse9")
    monkeypatch.setenv("KDET_CPU", "avx3")
    sentence = (
        "KDET_CPU names the instruction set 'avx3', which kdet does not know; here it is one of baseline"
    )
    with pytest.raises(KdetError, match=sentence):
        ops.corner_pool(tf.zeros([1, 2, 2, 1]), "top", implementation="compiled")
    dispatch._compiled_runs_here.cache_clear()
    with ops.use("auto"), pytest.raises(KdetError, match=sentence):
        ops.corner_pool(tf.zeros([1, 2, 2, 1]), "top")


def test_one_that_the_processor_has_not_is_refused(monkeypatch):
    class Old:
        """The library on a processor without vector units."""

        kdet_has_cpu = staticmethod(lambda name: int(name == b"baseline"))

    monkeypatch.setattr(compiled, "functions", Old)
    assert processor.cpus() == ("baseline",)
    sentence = "'avx2', which this processor has not; here it is one of baseline"
    monkeypatch.setenv("KDET_CPU", "avx2")
    with pytest.raises(KdetError, match=sentence):
        processor.cpu()


def test_the_command_line_says_so(monkeypatch, capsys):
    monkeypatch.setenv("KDET_CPU", "avx3")
    assert cli.main(["doctor"]) == 2
    assert "KDET_CPU names the instruction set 'avx3'" in capsys.readouterr().err
    monkeypatch.setenv("KDET_CPU", "baseline")
    cli.main(["doctor"])
    assert re.search(r"kernels: \w+ of baseline.*\(KDET_CPU: baseline\)", capsys.readouterr().out)


@pytest.mark.skipif(platform.machine() != "x86_64", reason="registers of x86-64")
@pytest.mark.skipif(shutil.which("objdump") is None, reason="objdump reads the library")
def test_no_instruction_set_has_functions_of_a_higher_one():
    """By their names: the linker must not have taken a function of all from a higher instruction set."""
    command = ["objdump", "-d", "--no-show-raw-insn", str(compiled.FOLDER / build.LIBRARY)]
    wrong, seen, function = {}, set(), ""
    for line in subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines():
        if line.endswith(">:"):
            function = line.partition("<")[2][:-2]
        # a name with a dot is a copy of the object at hand, which nobody else calls
        elif "avx512" not in function and "." not in function and WIDE.search(line):
            own = "avx2" in function
            seen.add(own)
            if not own or WIDER.search(line):
                wrong.setdefault(function, line)
    assert not wrong
    assert seen == {True}
