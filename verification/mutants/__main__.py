"""Makes random lines of kdet wrong, one at a time, and says which of them no test notices.

    python -m verification.mutants --seed 1 --count 300             # both groups; writes the results
    python -m verification.mutants --rooms layers ops --count 40    # a look at some rooms; writes nothing
    python -m verification.mutants --rooms layers --count 40 --survivors   # again those that survived
    python -m verification.mutants --kernels --count 40             # the C++ kernels

The checkout itself is not changed: copies in ``.mutants/`` are. What the tests execute is recorded once and
again for tests that changed; ``--record`` renews all of it. A run that was ended goes on.
"""

import argparse
import pathlib
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
# {group: (target in per cent, {room: files})}; a room is a folder of kdet unless files are given
GROUPS = {
    "models": (
        95,
        "assigners coders losses samplers postprocess priors heads detectors data evaluation train "
        "layers necks",
    ),
    "formats": (90, "export convert ops config"),
}
FILES = {"config": ["config", "overrides", "schema", "yaml_loader", "registry"]}


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--count", type=int, default=300, help="mutants of each group")
    parser.add_argument("--group", nargs="+", choices=list(GROUPS), default=list(GROUPS))
    parser.add_argument("--rooms", nargs="+", help="folders or files of kdet instead; writes no results")
    parser.add_argument("--tests", nargs="+", help="tests that count instead of all; writes no results")
    parser.add_argument(
        "--budget",
        type=float,
        default=0,
        help="seconds' worth of tests per mutant at most; writes no results",
    )
    parser.add_argument("--survivors", action="store_true", help="only those that survived last time")
    parser.add_argument("--record", action="store_true", help="record again what the tests execute")
    parser.add_argument("--jobs", type=int, default=1, help="processes that run tests")
    parser.add_argument(
        "--folder", type=pathlib.Path, default=ROOT / ".mutants", help="of copies and records"
    )
    parser.add_argument("--kernels", action="store_true", help="mutants of the C++ kernels instead")
    options = parser.parse_args()
    from verification.mutants.campaign import Campaign

    # what no tests reach is killed by none, so a part of the tests can only make the score worse
    tests = options.tests or (["tests/ops"] if options.kernels else ["tests"])
    campaign = Campaign(ROOT, options.folder, options.jobs, tuple(tests), options.budget)
    try:
        reach = campaign.record(options.record)
        if reach.broken:
            print(f"these fail without any mutant: {', '.join(reach.broken)}")
        if options.kernels:
            judge_kernels(campaign, reach, options)
        elif options.rooms:
            judge_rooms(campaign, reach, "rooms", 0, options.rooms, options)
        else:
            for group in options.group:
                target, rooms = GROUPS[group]
                judge_rooms(campaign, reach, group, target, rooms.split(), options)
    finally:
        campaign.close()
    return 0


def judge_kernels(campaign, reach, options) -> None:
    """Draws and judges mutants of the kernels."""
    from verification.mutants import kernels

    judged = kernels.judge(campaign, options.seed, options.count, reach, show, options.survivors)
    room_of = {mutant.path: mutant.path.split("/")[1] for mutant, _ in judged}
    conclude(campaign, judged, "kernels", 100, room_of, options)


def judge_rooms(campaign, reach, group, target, rooms, options) -> None:
    """Draws and judges mutants of rooms of kdet."""
    room_of = {path: room for room in rooms for path in paths(campaign, room)}
    if not room_of:
        raise SystemExit(f"kdet has no files of {', '.join(rooms)}")
    mutants = campaign.draw(sorted(room_of), options.seed, options.count)
    if options.survivors:
        mutants = [mutant for mutant in mutants if campaign.survived(mutant)]
    conclude(campaign, list(campaign.judge(mutants, reach, show)), group, target, room_of, options)


def conclude(campaign, judged, group, target, room_of, options) -> None:
    """Prints a result, and writes it where it is a whole one."""
    from verification.mutants import report

    counts = report.count_by_room(judged, room_of)
    survivors = [
        report.survivor(mutant, (campaign.tree / mutant.path).read_text(encoding="utf-8"), verdict["by"])
        for mutant, verdict in sorted(judged, key=lambda pair: (pair[0].path, pair[0].line))
        if verdict["killed"] is False
    ]
    result = report.entry(options.seed, options.count, campaign.commit, target, counts, survivors)
    print("\n".join(report.section(group, result)))
    if not (options.rooms or options.tests or options.survivors or options.budget):
        report.write(group, result)


def show(mutant, verdict) -> None:
    word = "killed" if verdict["killed"] else "SURVIVED"
    by = f" by {verdict['by']}" if verdict["killed"] else f" ({verdict['by']})" if verdict["by"] else ""
    print(f"{word} {verdict['seconds']:.0f} s {mutant.path}:{mutant.line} {mutant.mutation}{by}", flush=True)


def paths(campaign, room) -> list[str]:
    """Files of a room."""
    names = [f"kdet/{name}" for name in FILES.get(room, [room])]
    places = {*(f"{name}.py" for name in names)}
    folders = tuple(f"{name}/" for name in names)
    python = [path for path in campaign.paths if path.endswith(".py")]
    return [path for path in python if path in places or path.startswith(folders)]


if __name__ == "__main__":
    sys.exit(main())
