"""Imports between the rooms of kdet are those that the table in docs/architecture.md allows."""

import ast
import pathlib
import re

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "kdet"


def table():
    """Yields ``(rooms, text of the column "may import")`` of the table's rows about kdet."""
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    section = page.partition("## Rooms\n")[2].partition("\n## ")[0]
    for line in section.splitlines():
        if line.startswith("| `kdet/"):
            first, _, last = (cell.strip() for cell in line.strip("|").split("|"))
            yield [path.removesuffix(".py").strip("/") for path in re.findall(r"`kdet/([^`]+)`", first)], last


def allowed():
    """``{room: (imported anywhere, imported inside functions too)}``; None stands for everything."""
    rows = list(table())
    foundations = set(rows[0][0])
    rules = {}
    for rooms, text in rows:
        if text == "everything":
            rules.update(dict.fromkeys(rooms))
            continue
        sides = [set(re.split(r",\s*", side)) for side in text.split("; inside functions: ")]
        for side in sides:
            side.discard("foundations")
            if "each other" in side:
                side.remove("each other")
                side.update(rooms)
        anywhere = foundations | sides[0]
        for room in rooms:
            rules[room] = (anywhere, anywhere.union(*sides[1:]))
    return rules


def room_of(path):
    relative = path.relative_to(PACKAGE)
    return relative.parts[0] if len(relative.parts) > 1 else relative.stem


def imports(node, inside=False):
    """Yields ``(room, line, whether inside a function)`` of all imports of kdet below a node."""
    for child in ast.iter_child_nodes(node):
        names = []
        if isinstance(child, ast.Import):
            names = [alias.name for alias in child.names]
        elif isinstance(child, ast.ImportFrom) and child.module == "kdet":
            names = [f"kdet.{alias.name}" for alias in child.names if alias.name != "__version__"]
        elif isinstance(child, ast.ImportFrom):
            names = ["." if child.level else child.module]
        for name in names:
            if name.startswith((".", "kdet.")):
                yield name.split(".")[1], child.lineno, inside
        yield from imports(child, inside or isinstance(child, (ast.FunctionDef, ast.Lambda)))


def test_every_room_stands_in_the_table():
    rooms = {room_of(path) for path in PACKAGE.rglob("*.py")} - {"__init__"}
    assert set(allowed()) == rooms


def test_the_table_names_rooms():
    rules = allowed()
    named = set().union(*(anywhere | inside for anywhere, inside in filter(None, rules.values())))
    assert named <= set(rules)


@pytest.mark.parametrize("room", sorted(allowed()))
def test_imports_are_those_of_the_table(room):
    rule = allowed()[room]
    if rule is None:
        return
    wrong = []
    for path in sorted(PACKAGE.rglob("*.py")):
        if room_of(path) != room:
            continue
        for target, line, inside in imports(ast.parse(path.read_text(encoding="utf-8"))):
            if target != room and target not in rule[inside]:
                wrong.append(f"{path.relative_to(ROOT)}:{line} imports {target or 'by a relative name'}")
    assert not wrong, "docs/architecture.md, Rooms, does not allow: " + "; ".join(wrong)
