"""The results of mutation testing: verification/results/mutants.json, and docs/mutants.md made of it."""

import collections
import difflib
import json
import pathlib
from collections.abc import Iterator

from verification.mutants.sites import Mutant

ROOT = pathlib.Path(__file__).resolve().parents[2]
REPORT, PAGE = ROOT / "verification" / "results" / "mutants.json", ROOT / "docs" / "mutants.md"
HEAD = """# Do the tests notice a wrong line?

Lines of kdet are made wrong at random, one at a time: a comparison, an operator, a constant, a condition, a
sign, `and` for `or`, `maximum` for `minimum`, or an argument left out. A mutant is killed when a test of
`make test` fails. The score is the share of killed mutants among those that are not listed as equivalent
(`verification/equivalent_mutants.yaml`, with reasons). Argument checks and messages are not changed.

`make mutants SEED=1 COUNT=300` draws and judges mutants, as many of each group, and writes this page; a run
that was ended goes on where it was. Every test runs without mutants once before, to learn which lines it
executes.
"""


def entry(seed: int, count: int, commit: str, target: int, rooms: dict, survivors: list[dict]) -> dict:
    """What the report holds of one group."""
    return {
        "seed": seed,
        "count": count,
        "commit": commit,
        "target": target,
        "score": score(rooms.values()),
        "rooms": rooms,
        "survivors": survivors,
    }


def survivor(mutant: Mutant, source: str, by: str) -> dict:
    """What the report holds of a mutant that no test kills.

    Args:
        mutant: the mutant.
        source: text of its file.
        by: ``no test executes it``, or nothing.
    """
    lines = difflib.unified_diff(source.splitlines(), mutant.apply(source).splitlines(), lineterm="", n=0)
    diff = [line for line in lines if not line.startswith(("---", "+++", "@@"))]
    return {"file": mutant.path, "line": mutant.line, "mutation": mutant.mutation, "diff": diff} | (
        {"note": by} if by else {}
    )


def score(counts) -> float | None:
    """Percentage of the killed ones; None where there is none to kill."""
    killed, survived = (sum(row[kind] for row in counts) for kind in ("killed", "survived"))
    return round(100 * killed / (killed + survived), 1) if killed + survived else None


def count_by_room(judged: list[tuple[Mutant, dict]], room_of: dict[str, str]) -> dict[str, dict[str, int]]:
    """``{room: {"killed", "survived", "equivalent"}}``.

    Args:
        judged: of `Campaign.judge`.
        room_of: ``{path: room}``.
    """
    kinds = {True: "killed", False: "survived", None: "equivalent"}
    rooms = collections.defaultdict(lambda: dict.fromkeys(kinds.values(), 0))
    for mutant, verdict in judged:
        rooms[room_of[mutant.path]][kinds[verdict["killed"]]] += 1
    return dict(sorted(rooms.items()))


def write(group: str, result: dict) -> None:
    """Enters the result of a group into the report and renews the page."""
    report = json.loads(REPORT.read_text(encoding="utf-8")) if REPORT.exists() else {}
    report[group] = result
    REPORT.write_text(json.dumps(report, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    PAGE.write_text(page(report), encoding="utf-8")


def page(report: dict) -> str:
    """The text of docs/mutants.md."""
    return "\n".join([HEAD, *(line for group in sorted(report) for line in section(group, report[group]))])


def section(group: str, result: dict) -> Iterator[str]:
    """Lines of the page on one group."""
    yield f"## {group.capitalize()}: {result['score']} %"
    yield ""
    drawn = f"Seed {result['seed']}, {result['count']} mutants, commit {result['commit']}"
    yield f"{drawn}, target {result['target']} %."
    yield ""
    yield from ["| room | mutants | killed | survived | equivalent | score |", "|-|-|-|-|-|-|"]
    for room, row in sorted(result["rooms"].items()):
        share = score([row])
        counts = f"{sum(row.values())} | {row['killed']} | {row['survived']} | {row['equivalent']}"
        yield f"| {room} | {counts} | {'-' if share is None else f'{share} %'} |"
    yield ""
    if result["survivors"]:
        yield from ["Survivors:", ""]
        for found in result["survivors"]:
            note = f" ({found['note']})" if "note" in found else ""
            yield f"- `{found['file']}:{found['line']}`: `{found['mutation']}`{note}"
        yield ""
