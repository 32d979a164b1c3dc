"""Compares models with the reference numbers; one row per model and stage.

    python -m verification.check_parity --golden-dir tests/golden
    python -m verification.check_parity --golden-dir DIR --name 'mask_rcnn*' --write
    python -m verification.check_parity --golden-dir DIR --float64 DIR64 --name 'resnest*' --write

Exits with 1 when a stage misses its tolerance; "known" ones, in which kdet and the reference agree in float64
(results/float64.json), do not count. ``--write`` merges the results into results/parity.json and makes
docs/parity.md anew. With ``--float64`` kdet runs in float64 against the goldens in DIR64, which
``peers/mmdet_float64.py`` made, and the results go to results/float64.json. Paths are of verification/.
"""

import argparse
import os
import pathlib
import subprocess
import sys
import traceback

ROOT = pathlib.Path(__file__).resolve().parent.parent
RESULTS = ROOT / "verification" / "results"
EXACT = RESULTS / "float64.json"


def parse_arguments():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--golden-dir", default=ROOT / "tests" / "golden", help="folder of .npz goldens")
    parser.add_argument("--name", default="*", help="shell pattern of goldens or recipes")
    parser.add_argument("--no-train", action="store_true", help="leave losses and gradients out")
    parser.add_argument(
        "--write", action="store_true", help="update verification/results/parity.json and docs/parity.md"
    )
    parser.add_argument("--float64", metavar="DIR64", type=pathlib.Path, help="folder of float64 goldens")
    parser.add_argument("--isolate", action="store_true", help="a process per golden (long sweeps)")
    return parser.parse_args()


def main():
    arguments = parse_arguments()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    if arguments.float64:
        from verification import double_precision

        os.environ["KDET_OPS"] = "portable"
        double_precision.install()
    from verification import run

    paths = run.find_goldens(arguments.golden_dir, arguments.name)
    if not paths:
        sys.exit(f"No golden in {arguments.golden_dir} matches {arguments.name!r}.")
    if arguments.isolate:
        failed = sum(_in_own_process(arguments, path) for path in paths)
    elif arguments.float64:
        failed = check_float64(arguments, paths)
    else:
        failed = check(arguments, paths)
    print(f"{len(paths) - failed} passed, {failed} failed")
    sys.exit(1 if failed else 0)


def check(arguments, paths):
    """Number of goldens that kdet misses by more than rounding."""
    from verification import exact, report

    results, failed = {}, 0
    comparisons = exact.load(EXACT)
    for path in paths:
        name, rows = checked(path, arguments)
        explained = True
        for row in rows:
            why = "" if row.passed else exact.reason(comparisons, path.stem, row.stage, row.error)
            explained &= row.passed or bool(why)
            show("ok" if row.passed else "known" if why else "FAIL", row, why)
        failed += not explained
        if not explained:
            print(
                "  Is it rounding? verification/peers/mmdet_float64.py makes a golden that tells: --float64."
            )
        results[path.stem] = {"name": name, "rows": [list(r) for r in rows]}
    if arguments.write:
        store = RESULTS / "parity.json"
        report.save(report.load_results(store) | results, store)
        write_page()
    return failed


def check_float64(arguments, paths):
    """Number of goldens that kdet misses in float64."""
    from verification import exact, golden, report

    results, failed = {}, 0
    for path in paths:
        _, rows = checked(arguments.float64 / path.name, arguments)
        own = exact.golden_errors(golden.Golden(path), golden.Golden(arguments.float64 / path.name))
        agreed = [exact.agrees(row.stage, row.error) for row in rows]
        for row, agrees in zip(rows, agreed):
            show("ok" if agrees else "FAIL", row)
        failed += not all(agreed)
        results[path.stem] = {row.stage: exact.figures(row.error, own.get(row.stage)) for row in rows}
    if arguments.write:
        report.save(exact.load(EXACT) | results, EXACT)
        write_page()
    return failed


def checked(path, arguments):
    """``run.check`` of a golden; one that cannot be compared does not end a sweep."""
    from verification import checks, run

    try:
        name, rows, seconds = run.check(path, train=not arguments.no_train)
    except Exception as error:
        traceback.print_exc()
        name, rows, seconds = None, [checks.Row("check", float("inf"), False, repr(error))], 0.0
    print(f"{name or path.stem} ({path.stem}, {seconds:.0f} s)")
    return name, rows


def show(label, row, why=""):
    print(f"  {label:5} {row.stage:32} {row.error:9.2e}  {why or row.note}", flush=True)


def write_page():
    from verification import exact, report

    page = report.markdown(report.load_results(RESULTS / "parity.json"), exact.load(EXACT))
    (ROOT / "docs" / "parity.md").write_text(page, encoding="utf-8")


def _in_own_process(arguments, path):
    command = [
        sys.executable,
        "-m",
        "verification.check_parity",
        "--golden-dir",
        str(arguments.golden_dir),
        "--name",
        path.stem,
    ]
    command += ["--float64", str(arguments.float64)] if arguments.float64 else []
    command += ["--no-train"] * arguments.no_train + ["--write"] * arguments.write
    return subprocess.run(command, check=False).returncode != 0


if __name__ == "__main__":
    main()
