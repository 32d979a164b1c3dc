"""Checks on the models of the zoo what must hold for every one: see ``verification.contract``.

    python -m verification.check_models --small     # small variants of all recipes
    python -m verification.check_models             # every model as published (hours; some need much memory)
    python -m verification.check_models htc dcn     # these families, again

Recipes that give the same model are checked once, each family in a process of its own. Results go to
verification/results/contract.json and docs/contract.md after every model; what stands there is not run again
unless its family is named. Exits with 1 when a model breaks the contract.
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
SMALL = " (small)"
CLAUSES = ("same_after_loading", "finite_in_bfloat16", "learns_from_no_objects", "two_are_one_and_one")
STORE, PAGE = ROOT / "verification" / "results" / "contract.json", ROOT / "docs" / "contract.md"
HEADER = """# What holds for every model

Made by `verification/check_models.py`; do not edit. With generated weights, on two images of 96x128:

- the `.keras` file gives exactly the same detections;
- `mixed_bfloat16` gives finite detections of the same shapes;
- a batch without an object has finite losses and gradients;
- a batch of two images gives the detections that two batches of one give.

*small* models are the recipe's small variant (`verification.small`): the same parts with fewer channels.
Recipes that give the same model stand here once.
"""


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("families", nargs="*", help="default: all, but no model that was checked before")
    parser.add_argument("--small", action="store_true", help="small variants")
    parser.add_argument(
        "--here", action="store_true", help="in this process, only what was not checked before"
    )
    options = parser.parse_args()
    families = models_by_family(options.families, options.small)
    if options.families and not options.here:
        named = {title for titles in families.values() for title in titles}
        save({title: result for title, result in load().items() if title not in named})
    for family, titles in families.items():
        if options.here:
            for title in pending(titles):
                save({**load(), title: check(title.removesuffix(SMALL), options.small)})
        while not options.here and (left := pending(titles)):
            command = [
                sys.executable,
                "-m",
                "verification.check_models",
                "--here",
                family,
                *["--small"] * options.small,
            ]
            code = subprocess.run(command, check=False).returncode
            if left == pending(titles):
                save({**load(), left[0]: {"process": f"ended with code {code}"}})
    broken = [f"{title}: {result}" for title, result in load().items() if set(result.values()) != {"ok"}]
    print("\n".join(broken) or "all keep the contract")
    sys.exit(1 if broken and not options.here else 0)


def models_by_family(wanted, small):
    """``{family: titles}`` of one recipe per model; a title says whether it is the small variant."""
    from kdet.config import Config, recipes
    from verification.small import small_variant
    from verification.zoo_page import model_key

    shipped = recipes()
    unknown = set(wanted) - {path.parent.name for path in shipped.values()}
    if unknown:
        sys.exit(f"There is no family {', '.join(sorted(unknown))}.")
    families, seen = {}, set()
    for name, path in shipped.items():
        config = Config.load(name, check=False)
        key = model_key(small_variant(config) if small else config)
        if key not in seen and (not wanted or path.parent.name in wanted):
            families.setdefault(path.parent.name, []).append(name + SMALL * small)
        seen.add(key)
    return families


def load():
    """Results so far: ``{title: {clause: "ok" or what happened}}``."""
    return json.loads(STORE.read_text(encoding="utf-8")) if STORE.exists() else {}


def save(results):
    """Writes the results and the page made of them."""
    STORE.write_text(json.dumps(results, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    kept = sum(set(result.values()) == {"ok"} for result in results.values())
    lines = [
        HEADER,
        f"{kept} of {len(results)} models keep it.",
        "",
        "| model | file | bfloat16 | empty | batch |",
    ]
    lines.append("|-|-|-|-|-|")
    for title, result in sorted(results.items()):
        cells = [result.get(clause, "") for clause in CLAUSES]
        other = [f"{key}: {text}" for key, text in result.items() if key not in CLAUSES]
        lines.append(f"| {title} | {' | '.join([*cells[:-1], cells[-1] or '; '.join(other)])} |")
    PAGE.write_text("\n".join(lines) + "\n", encoding="utf-8")


def pending(titles):
    known = load()
    return [title for title in titles if title not in known]


def check(name, small):
    """``{clause: "ok" or what happened}`` of one model."""
    from kdet.config import Config
    from verification.contract import CONTRACT, Subject
    from verification.small import small_variant

    config = Config.load(name)
    try:
        subject = Subject(small_variant(config) if small else config)
    except Exception as error:  # whatever it is, it goes into the report
        return {"build": _told(error)}
    results = {}
    for clause in CONTRACT:
        try:
            assert clause(subject) > 0, "nothing to look at"
            results[clause.__name__] = "ok"
        except Exception as error:
            results[clause.__name__] = _told(error)
    return results


def _told(error):
    first = str(error).strip().splitlines()[:1]
    return f"{type(error).__name__}: {' '.join(first)}"[:200]


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    sys.path.insert(0, str(ROOT))
    main()
