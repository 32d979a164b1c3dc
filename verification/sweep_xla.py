"""Compiles every model of the zoo with XLA and compares it with the same model without.

    python -m verification.sweep_xla                       # what the report does not hold yet
    python -m verification.sweep_xla htc dcn               # these families, what is missing of them
    python -m verification.sweep_xla --again htc           # these families, all of them

Models are the recipes' small variants (``verification.small``) with generated weights, on two images of
96x128; recipes of which these are the same model are run once. First comes one of each family. What is
asserted says ``verification.xla``. The report, ``verification/results/xla.json``, holds per recipe
``{clause: "ok" or what happened}`` and is written after every model, as is docs/xla.md, so that a sweep can
be stopped and taken up again.
"""

import argparse
import collections
import gc
import json
import os
import pathlib
import re
import sys
import time

from verification.isolated import Crash, Isolated

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
ROOT = pathlib.Path(__file__).resolve().parent.parent
REPORT, PAGE = ROOT / "verification" / "results" / "xla.json", ROOT / "docs" / "xla.md"
HEADING = "## Which models"
CLAUSES = {"same_detections": "inference", "same_step": "training step"}


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("families", nargs="*", help="default: all")
    parser.add_argument("--again", action="store_true", help="models that the report holds too")
    parser.add_argument("--page", action="store_true", help="only write the page anew")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        work()
    elif not options.page:
        sweep(options.families, options.again)
    if not options.worker:
        PAGE.write_text(page(), encoding="utf-8")


def sweep(families, again):
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    worker = Isolated(
        [sys.executable, "-m", "verification.sweep_xla", "--worker"],
        limit_s=3600,
        renew=8,
        env={**os.environ, "PYTHONPATH": path},
    )
    for family, names in by_rank():
        known = read()
        missing = [name for name in names if again or set(known.get(name, ())) != set(CLAUSES)]
        if not missing or (families and family not in families):
            continue
        start = time.perf_counter()
        row = {} if again else next((known[name] for name in names if name in known), {})
        if set(row) != set(CLAUSES):
            try:
                row = worker.ask({"name": names[0]})
            except Crash as crash:
                row = dict.fromkeys(CLAUSES, f"fails: {crash}")
        REPORT.write_text(
            json.dumps({**read(), **dict.fromkeys(names, row)}, indent=1, sort_keys=True) + "\n"
        )
        PAGE.write_text(page(), encoding="utf-8")
        print(
            f"{names[0]} (and {len(names) - 1} more): {row} ({time.perf_counter() - start:.0f} s)", flush=True
        )
    worker.close()


def read():
    return json.loads(REPORT.read_text(encoding="utf-8")) if REPORT.exists() else {}


def by_rank():
    """``[(family, names)]``, names together whose small variants are one model: first one of every family."""
    from kdet.config import Config, recipes
    from verification.small import small_variant
    from verification.zoo_page import model_key

    groups = collections.defaultdict(list)
    for name, path in recipes().items():
        key = model_key(small_variant(Config.load(name, check=False)))
        groups[key].append((path.parent.name, name))
    seen, ranked = collections.Counter(), []
    for members in sorted(groups.values(), key=lambda members: "r50" not in members[0][1]):
        family = members[0][0]
        ranked.append((seen[family], family, [name for _, name in members]))
        seen[family] += 1
    return [(family, names) for _, family, names in sorted(ranked, key=lambda row: row[0])]


# ---- the process that makes the models


def work():
    """Answers ``{"name": recipe}`` with ``{clause: "ok" or what happened}``."""
    import keras

    for line in sys.stdin:
        print(json.dumps(check(**json.loads(line))), flush=True)
        keras.backend.clear_session()
        gc.collect()


def check(name):
    """``{clause: "ok" or what happened}`` of a recipe's small variant."""
    from kdet.config import Config
    from verification import xla
    from verification.contract import Subject
    from verification.small import small_variant

    try:
        subject = Subject(small_variant(Config.load(name)))
    except Exception as error:
        return dict.fromkeys(CLAUSES, f"fails: {told(error)}")
    row = {}
    for clause in xla.CLAUSES:
        try:
            assert clause(subject) > 0, "nothing to look at"
            row[clause.__name__] = "ok"
        except Exception as error:  # whatever it is, it is the verdict on this model
            row[clause.__name__] = f"fails: {told(error)}"
    return row


def told(error):
    text = str(error)
    missing = re.findall(r"No registered '(\w+)' OpKernel", text)
    if missing:
        return f"XLA has no {', '.join(sorted(set(missing)))}"
    lines = [line.strip() for line in text.splitlines() if line.strip()] or [""]
    return f"{type(error).__name__}: {lines[0]}"[:300]


# ---- the page


def page():
    """The text of docs/xla.md as it should be."""
    from kdet.config import recipes

    families = {name: path.parent.name for name, path in recipes().items()}
    return PAGE.read_text(encoding="utf-8").split(HEADING)[0] + section(read(), families)


def section(report, families):
    """The heading and what follows.

    Args:
        report: ``{recipe: {clause: verdict}}``.
        families: ``{recipe: family}`` of all recipes.
    """
    rows = {name: row for name, row in report.items() if name in families}
    good = {clause: sum(row.get(clause) == "ok" for row in rows.values()) for clause in CLAUSES}
    lines = [
        HEADING,
        "",
        "Made by `verification/sweep_xla.py` of small variants of the recipes (`verification.small`: the "
        f"same parts, fewer channels and layers): {len(rows)} of {len(families)} were run. XLA compiles the "
        f"inference of {good['same_detections']} and the training step of {good['same_step']}; their "
        "numbers are those without it (detections within 0.01 pixels and 1e-3 in score, losses within 1e-4, "
        "the gradient within 1e-3 of itself and every variable's within 1e-2).",
        "",
        f"| family | models | {' | '.join(CLAUSES.values())} |",
        "|-|-|-|-|",
    ]
    table = collections.defaultdict(list)
    for name in sorted(rows):
        verdicts = tuple(rows[name].get(clause, "").replace("|", "\\|") for clause in CLAUSES)
        table[families[name], verdicts].append(name)
    for (family, verdicts), names in sorted(table.items()):
        lines.append(f"| {family} | {', '.join(names)} | {' | '.join(verdicts)} |")
    missing = sorted(set(families.values()) - {family for family, _ in table})
    if missing:
        lines += ["", f"No model was run of: {', '.join(missing)}."]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
