"""Compares models with the reference numbers; one row per model and stage.

    python tools/parity.py --golden-dir tests/golden
    python tools/parity.py --golden-dir DIR --name 'mask_rcnn*' --write

Exits with 1 when a stage misses its tolerance; "known" ones, which the reference misses as well when its
input moves by rounding (docs/conditioning.json), do not count. ``--write`` merges the results into
docs/parity.json and makes docs/parity.md anew.
"""

import argparse
import os
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent


def parse_arguments():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--golden-dir", default=ROOT / "tests" / "golden", help="folder of .npz goldens")
    parser.add_argument("--name", default="*", help="shell pattern of goldens or recipes")
    parser.add_argument("--no-train", action="store_true", help="leave losses and gradients out")
    parser.add_argument("--write", action="store_true", help="update docs/parity.json and docs/parity.md")
    parser.add_argument("--isolate", action="store_true", help="a process per golden (long sweeps)")
    return parser.parse_args()


def main():
    arguments = parse_arguments()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    from kdet.parity import conditioning, report, run

    results, failed = {}, 0
    measurements = conditioning.load(ROOT / "docs" / "conditioning.json")
    paths = run.find_goldens(arguments.golden_dir, arguments.name)
    if not paths:
        sys.exit(f"No golden in {arguments.golden_dir} matches {arguments.name!r}.")
    if arguments.isolate:
        for path in paths:
            failed += _in_own_process(arguments, path)
        print(f"{len(paths) - failed} passed, {failed} failed")
        sys.exit(1 if failed else 0)
    for path in paths:
        name, rows, seconds = run.check(path, train=not arguments.no_train)
        print(f"{name or path.stem} ({path.stem}, {seconds:.0f} s)")
        explained = True
        for stage, error, passed, note, failing in rows:
            why = "" if passed else conditioning.reason(measurements, path.stem, stage, failing)
            explained &= passed or bool(why)
            label = "ok" if passed else "known" if why else "FAIL"
            print(f"  {label:5} {stage:32} {error:9.2e}  {why or note}", flush=True)
        failed += not explained
        results[path.stem] = {"name": name, "rows": [list(r) for r in rows]}
    if arguments.write:
        store = ROOT / "docs" / "parity.json"
        merged = {**report.load_results(store), **results}
        report.save_results(merged, store)
        (ROOT / "docs" / "parity.md").write_text(report.markdown(merged, measurements), encoding="utf-8")
    print(f"{len(paths) - failed} passed, {failed} failed")
    sys.exit(1 if failed else 0)


def _in_own_process(arguments, path):
    command = [sys.executable, __file__, "--golden-dir", str(arguments.golden_dir), "--name", path.stem]
    command += ["--no-train"] * arguments.no_train + ["--write"] * arguments.write
    return subprocess.run(command, check=False).returncode != 0


if __name__ == "__main__":
    main()
