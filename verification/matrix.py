"""Runs the suite with the oldest, the newest and other sets of versions that pyproject.toml allows.

    python -m verification.matrix                   # every one that pyproject.toml allows
    python -m verification.matrix oldest            # this one
    python -m verification.matrix oldest --tests tests/detectors tests/test_compat.py

Each environment has its own copy of the last commit, virtual environment and compiled ops under ``.matrix/``.
A run of the whole suite goes into verification/results/matrix.json and the table of docs/support.md. Exits
with 1 when an environment fails.
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

ROOT = pathlib.Path(__file__).resolve().parent.parent
STORE, PAGE = ROOT / "verification" / "results" / "matrix.json", ROOT / "docs" / "support.md"
FOLDER = ROOT / ".matrix"
SHOWN = ("tensorflow", "keras", "numpy")
HEADER = """# What kdet was run with

Made by `python -m verification.matrix` (`make matrix`); do not edit. The whole suite ran in each of these
environments, every one with its own compiled ops, on Linux (x86-64). What pyproject.toml allows beyond them
was not run; `candidate` takes release candidates that it does not allow yet.

| environment | Python | TensorFlow | Keras | NumPy | tests | date |
|-|-|-|-|-|-|-|
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
    parser.add_argument("--jobs", default=os.environ.get("JOBS", "2"), help="processes of pytest")
    options = parser.parse_args()
    if unknown := set(options.names) - known.keys():
        parser.error(f"no environment is called {', '.join(sorted(unknown))}; there are {', '.join(known)}")
    failed = [
        name
        for name in options.names or [name for name in known if not known[name].candidates]
        if not run(name, known[name], options.tests, ["-n", options.jobs])
    ]
    if failed:
        sys.exit(f"Failed: {', '.join(failed)}.")


def run(name: str, environment: Environment, tests: list[str], options: list[str]) -> bool:
    """Make an environment, run its tests, and record the result of a whole suite."""
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
    versions = _versions(python)
    print(f"{name}: {versions}", flush=True)
    done = subprocess.run(
        [python, "-m", "pytest", *options, *tests], cwd=checkout, stdout=subprocess.PIPE, text=True
    )
    summary = done.stdout.strip().splitlines()[-1] if done.stdout.strip() else "no output"
    print(done.stdout if done.returncode else f"{name}: {summary}", flush=True)
    if not tests:
        verdict = re.sub(r"=+|\x1b\[\d*m|,? \d+ warnings?| in .*", "", summary).strip()
        record(name, {**versions, "tests": verdict, "date": str(datetime.date.today())})
    return done.returncode == 0


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


def record(name: str, result: dict[str, str]) -> None:
    """Keep the result of an environment and write the page anew."""
    results = json.loads(STORE.read_text(encoding="utf-8")) if STORE.exists() else {}
    results[name] = result
    STORE.write_text(json.dumps(results, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    PAGE.write_text(page(results), encoding="utf-8")


def page(results: dict[str, dict[str, str]]) -> str:
    """The text of docs/support.md."""
    keys = ("python", *SHOWN, "tests", "date")
    rows = [(name, *(results[name][key] for key in keys)) for name in environments() if name in results]
    return HEADER + "".join(f"| {' | '.join(row)} |\n" for row in rows)


def _versions(python: pathlib.Path) -> dict[str, str]:
    code = (
        "import importlib.metadata, json, platform; print(json.dumps({'python': platform.python_version(), "
        f"**{{name: importlib.metadata.version(name) for name in {SHOWN!r}}}}}))"
    )
    done = subprocess.run([python, "-c", code], check=True, capture_output=True, text=True)
    return json.loads(done.stdout)


if __name__ == "__main__":
    main()
