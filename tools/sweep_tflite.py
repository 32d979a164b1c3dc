"""Exports every architecture of the zoo to TFLite, compares it with the model, and writes docs/tflite.md.

    python tools/sweep_tflite.py --golden-dir ../shared/parity/goldens          # what the report lacks
    python tools/sweep_tflite.py --golden-dir ... --name "gfl__*" --again
    python tools/sweep_tflite.py                                                # only the table

Goldens bring weights with which a model finds much. The report, ``docs/exports.json``, holds per recipe
``{"tflite": "builtin" | "select: Op, Op" | "fails: why"}`` beside what others wrote there; it is written
after every model, so that a sweep can be stopped and taken up again.
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys

from sweep_exports import REPORT, ROOT, groups

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("KDET_OPS", "portable")
PAGE = ROOT / "docs" / "tflite.md"
HEADING = "## Which models"


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--golden-dir", type=pathlib.Path)
    parser.add_argument("--name", nargs="+", default=["*"], help="patterns of goldens or recipes, in order")
    parser.add_argument("--again", action="store_true", help="models that the report holds too")
    parser.add_argument("--limit", type=int, help="stop after so many exports")
    parser.add_argument("--size", type=int, nargs=2, default=[160, 160], metavar=("H", "W"))
    parser.add_argument("--one", type=pathlib.Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(check(options.one, options.size))
        return
    if options.golden_dir:
        sweep(options)
    report = read_report()
    for names in groups():  # what holds for a recipe holds for those of the same model
        verdicts = [report[name]["tflite"] for name in names if "tflite" in report.get(name, {})]
        for name in names if verdicts else ():
            report.setdefault(name, {}).setdefault("tflite", verdicts[0])
    write_report(report)
    write_page({name: row["tflite"] for name, row in report.items() if "tflite" in row})


def sweep(options):
    from kdet.parity import run
    from kdet.parity.golden import Golden

    paths = [p for name in options.name for p in run.find_goldens(options.golden_dir, name)]
    done = 0
    for path in dict.fromkeys(paths):
        name = run.recipe_of(Golden(str(path)).meta["config"])
        if name is None or done == options.limit:
            continue
        if "tflite" in read_report().get(name, {}) and not options.again:
            continue
        verdict = isolated(path, options.size)
        done += 1
        report = read_report()
        report.setdefault(name, {})["tflite"] = verdict
        write_report(report)
        print(f"{name}: {verdict}", flush=True)


def read_report():
    return json.loads(REPORT.read_text()) if REPORT.exists() else {}


def write_report(report):
    REPORT.write_text(json.dumps(report, indent=1, sort_keys=True) + "\n")


def isolated(path, size):
    """``check`` in a process of its own, so that memory is given back and a crash is a verdict."""
    command = [sys.executable, __file__, "--one", str(path), "--size", *map(str, size)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        return f"fails: {lines[-1][:300]}"
    return done.stdout.strip().splitlines()[-1]


def check(path, size):
    """The verdict on the model of one golden, at the size that its recipe fixes or else at ``size``."""
    from kdet.export import ExportError, Program, litert, tflite
    from kdet.parity import run
    from kdet.parity.golden import Golden

    golden = Golden(str(path))
    model = run.build(golden, run.recipe_of(golden.meta["config"]))
    size = size if model.preprocessor.keep_ratio else tflite.canvas_of(model.preprocessor)
    try:
        traced = Program(model).on_canvas(*size)
        content, select = tflite.convert(traced, model.name)
        pictures = [litert.noise_pictures(model, *size)]
        if select:
            return f"select: {', '.join(select)}"
        litert.check(model.name, content, traced, pictures, tflite.BOUNDS["fp32"])
    except ExportError as error:
        return f"fails: {error}"
    return "builtin"


def write_page(rows):
    """Replaces what follows the heading in docs/tflite.md by the table of ``{recipe: verdict}``."""
    from kdet.config import recipes

    families = {name: pathlib.Path(path).parent.name for name, path in recipes().items()}
    counts = [sum(row.startswith(kind) for row in rows.values()) for kind in ("builtin", "select", "fails")]
    lines = [
        HEADING,
        "",
        f"Made by `tools/sweep_tflite.py` in float32: {len(rows)} of {len(families)} recipes (those of one "
        f"`model` section are tried once). {counts[0]} are built-in: TFLite's own ops suffice, and at least "
        "95 % of the model's detections have a partner within 0.05 pixels (or per cent of the box's longer "
        f"side) and 1e-3 in score. {counts[1]} convert with the TensorFlow ops named and could not be run; "
        f"{counts[2]} fail. The others were not tried.",
        "",
        "| family | models | TFLite |",
        "|-|-|-|",
    ]
    table = {}
    for name in sorted(rows):
        table.setdefault((families[name], rows[name].replace("|", "\\|")), []).append(name)
    for (family, verdict), names in sorted(table.items()):
        lines.append(f"| {family} | {', '.join(names)} | {verdict} |")
    missing = sorted(set(families.values()) - {family for family, _ in table})
    if missing:
        lines += ["", f"No model was run of: {', '.join(missing)}."]
    guide = PAGE.read_text().split(HEADING)[0].rstrip()
    PAGE.write_text("\n".join([guide, "", *lines]) + "\n")


if __name__ == "__main__":
    main()
