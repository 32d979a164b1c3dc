"""Runs the suite with the oldest, the newest and other sets of versions that pyproject.toml allows.

    python -m verification.matrix                   # every one that pyproject.toml allows
    python -m verification.matrix oldest            # this one
    python -m verification.matrix oldest --tests tests/detectors tests/test_compat.py
    python -m verification.matrix oldest --failed   # what failed last time, with the last commit

Each environment has its own copy of the last commit, virtual environment and compiled ops under ``.matrix/``.
A run of the whole suite goes into verification/results/matrix.json and the table of docs/support.md, and so
does a later run of what failed in it. Exits with 1 when an environment fails.
"""

import argparse
import dataclasses
import datetime
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
from typing import Any

ROOT = pathlib.Path(__file__).resolve().parent.parent
STORE, PAGE = ROOT / "verification" / "results" / "matrix.json", ROOT / "docs" / "support.md"
FOLDER = ROOT / ".matrix"
SHOWN = ("tensorflow", "keras", "numpy")
HEADER = """# What kdet was run with

Made by `python -m verification.matrix` (`make matrix`); do not edit. The whole suite ran in each of these
environments, every one with its own compiled ops, on Linux (x86-64); "in a second run" are tests that failed,
were mended, and passed at a later commit. What pyproject.toml allows beyond them was not run; `candidate`
takes release candidates that it does not allow yet.

| environment | Python | TensorFlow | Keras | NumPy | commit | tests | date |
|-|-|-|-|-|-|-|-|
"""


@dataclasses.dataclass(frozen=True)
class Environment:
    """A Python and exact versions of packages; what is not named is the newest that is allowed.

    With ``candidates`` TensorFlow, Keras and NumPy are the newest at all, release candidates among them.
    """

    python: str
    pins: tuple[str, ...] = ()
    candidates: bool = False


def environments() -> dict[str, Environment]:
    """Return the sets of versions by name; the oldest are the lower bounds of pyproject.toml."""
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    lowest = {name: re.search(rf'"{name}>=([\d.]+)', text).group(1) for name in SHOWN}
    oldest = tuple(f"{name}=={version}{'.0' * (version.count('.') < 2)}" for name, version in lowest.items())
    first = re.search(r'requires-python = ">=([\d.]+)', text).group(1)
    return {
        "oldest": Environment(first, oldest),
        "keras-3.13": Environment("3.11", ("tensorflow==2.20.0", "keras==3.13.2")),
        "keras-3.14": Environment("3.12", ("keras==3.14.1",)),
        "newest": Environment("3.13"),
        "candidate": Environment("3.13", candidates=True),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    known = environments()
    parser.add_argument(
        "names",
        nargs="*",
        metavar="name",
        help=f"of {', '.join(known)}; by default all that pyproject.toml allows",
    )
    parser.add_argument("--tests", nargs="*", default=[], help="only these; nothing is recorded")
    parser.add_argument("--failed", action="store_true", help="only what failed in the recorded run")
    parser.add_argument("--jobs", default=os.environ.get("JOBS", "2"), help="processes of pytest")
    options = parser.parse_args()
    if unknown := set(options.names) - known.keys():
        parser.error(f"no environment is called {', '.join(sorted(unknown))}; there are {', '.join(known)}")
    wanted = options.names or [name for name in known if not known[name].candidates]
    jobs = ["-n", options.jobs]
    if options.failed:
        failed = [name for name in wanted if not run_failed(name, known[name], jobs)]
    else:
        failed = [name for name in wanted if not run(name, known[name], options.tests, jobs)]
    if failed:
        sys.exit(f"Failed: {', '.join(failed)}.")


def run(name: str, environment: Environment, tests: list[str], options: list[str]) -> bool:
    """Make an environment, run its tests, and record the result of a whole suite."""
    python = prepare(name, environment)
    versions = _versions(python)
    print(f"{name}: {versions}", flush=True)
    passed, output = run_tests(name, python, [*options, *tests])
    print(f"{name}: {output.splitlines()[-1]}" if passed else output, flush=True)
    if not tests:
        counts = {word: int(number) for number, word in re.findall(r"(\d+) (\w+)", output.splitlines()[-1])}
        outcome = {word: counts.get(word, 0) for word in ("passed", "failed", "errors", "skipped")}
        failed = re.findall(r"^(?:FAILED|ERROR) (\S+)", output, re.MULTILINE)
        record(name, {**versions, **outcome, "failures": failed, "commit": _commit(), "date": _today()})
    return passed


def run_failed(name: str, environment: Environment, options: list[str]) -> bool:
    """Run again what failed in the recorded run of an environment, and record what passes now."""
    recorded = json.loads(STORE.read_text(encoding="utf-8"))[name]
    if not recorded["failures"]:
        return True
    passed, output = run_tests(name, prepare(name, environment), [*options, *recorded["failures"]])
    print(output, flush=True)
    left = re.findall(r"^(?:FAILED|ERROR) (\S+)", output, re.MULTILINE)
    later = {test: _commit() for test in recorded["failures"] if test not in left}
    record(name, {**recorded, "failures": left, "later": {**recorded.get("later", {}), **later}})
    return passed


def run_tests(name: str, python: pathlib.Path, arguments: list[str]) -> tuple[bool, str]:
    """Whether pytest passes in an environment's checkout, and what it says."""
    done = subprocess.run(
        [python, "-m", "pytest", *arguments],
        cwd=FOLDER / name / "checkout",
        stdout=subprocess.PIPE,
        text=True,
    )
    return done.returncode == 0, done.stdout.strip() or "no output"


def prepare(name: str, environment: Environment) -> pathlib.Path:
    """Make the checkout of an environment anew, and whatever else of it is missing; returns its Python."""
    folder = FOLDER / name
    checkout, python = folder / "checkout", folder / "venv" / "bin" / "python"
    shutil.rmtree(checkout, ignore_errors=True)
    checkout.mkdir(parents=True)
    files = subprocess.run(["git", "archive", "HEAD"], cwd=ROOT, check=True, capture_output=True).stdout
    subprocess.run(["tar", "-x", "-C", checkout], input=files, check=True)
    if not python.exists():
        print(f"{name}: making an environment with Python {environment.python}", flush=True)
        subprocess.run([find_python(environment.python), "-m", "venv", folder / "venv"], check=True)
        pins = folder / "pins.txt"
        pins.write_text("\n".join(environment.pins), encoding="utf-8")
        pip = [python, "-m", "pip", "install", "--quiet", "--constraint", pins]
        subprocess.run([*pip, "--upgrade", "pip", "setuptools>=77", "tensorflow>=2.20,<2.22"], check=True)
        subprocess.run([*pip, "--no-build-isolation", "--editable", f"{checkout}[dev]"], check=True)
        if environment.candidates:
            subprocess.run([*pip, "--upgrade", "--pre", *SHOWN], check=True)
    if not any(checkout.glob("kdet/ops/*.so")):  # an installation has built them
        subprocess.run([python, "-m", "kdet.ops", "build"], cwd=checkout, check=True)
    return python


def find_python(version: str) -> str:
    """Return an interpreter of a version: on the path, or of pyenv; else the one that runs this."""
    pyenv = pathlib.Path(os.environ.get("PYENV_ROOT", pathlib.Path.home() / ".pyenv")) / "versions"
    candidates = [shutil.which(f"python{version}"), *sorted(pyenv.glob(f"{version}.*/bin/python"))]
    for candidate in filter(None, candidates):
        done = subprocess.run([candidate, "--version"], capture_output=True, text=True)
        if done.returncode == 0 and f"Python {version}." in done.stdout:
            return str(candidate)
    print(f"There is no Python {version} here: {sys.version.split()[0]} takes its place.", flush=True)
    return sys.executable


def record(name: str, result: dict[str, Any]) -> None:
    """Keep the result of an environment and write the page anew."""
    results = json.loads(STORE.read_text(encoding="utf-8")) if STORE.exists() else {}
    results[name] = result
    STORE.write_text(json.dumps(results, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    PAGE.write_text(page(results), encoding="utf-8")


def page(results: dict[str, dict[str, Any]]) -> str:
    """The text of docs/support.md."""
    rows = [
        (name, *(results[name][key] for key in ("python", *SHOWN, "commit")), verdict(results[name]))
        for name in environments()
        if name in results
    ]
    dates = [results[row[0]]["date"] for row in rows]
    return HEADER + "".join(f"| {' | '.join(row)} | {date} |\n" for row, date in zip(rows, dates))


def verdict(result: dict[str, Any]) -> str:
    """How many tests passed, in a second run too, and what is left."""
    later, left = len(result.get("later", {})), len(result["failures"])
    words = [f"{result['passed'] + later} passed" + (f" ({later} in a second run)" if later else "")]
    words += [f"**{left} failed**"] if left else []
    return ", ".join([*words, f"{result['skipped']} skipped"])


def _commit() -> str:
    done = subprocess.run(
        ["git", "rev-parse", "--short=10", "HEAD"], cwd=ROOT, check=True, capture_output=True
    )
    return done.stdout.decode().strip()


def _today() -> str:
    return str(datetime.date.today())


def _versions(python: pathlib.Path) -> dict[str, str]:
    code = (
        "import importlib.metadata, json, platform; print(json.dumps({'python': platform.python_version(), "
        f"**{{name: importlib.metadata.version(name) for name in {SHOWN!r}}}}}))"
    )
    done = subprocess.run([python, "-c", code], check=True, capture_output=True, text=True)
    return json.loads(done.stdout)


if __name__ == "__main__":
    main()
