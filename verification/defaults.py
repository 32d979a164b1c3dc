"""Keeps the defaults of everything public in tests/golden/defaults.txt: ``python -m verification.defaults``.

Recipes, checkpoints and users rely on what they do not say. A default that changes is a change of all of
them, so it is made on purpose: the file is written anew and its difference read.
"""

import ast
import pathlib
from collections.abc import Iterator

ROOT = pathlib.Path(__file__).resolve().parent.parent
FILE = ROOT / "tests" / "golden" / "defaults.txt"


def lines() -> list[str]:
    """``Class(argument=default, ...)``, ``Class.method(...)`` or ``module.function(...)`` of all of kdet."""
    found = []
    for path in sorted((ROOT / "kdet").rglob("*.py")):
        module = path.parent.name if path.stem == "__init__" else path.stem
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            found += (
                _of_function(node, f"{module}.") if isinstance(node, ast.FunctionDef) else _of_class(node)
            )
    return sorted(found)


def _of_class(node: ast.stmt) -> Iterator[str]:
    if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
        for method in node.body:
            if isinstance(method, ast.FunctionDef):
                yield from _of_function(method, f"{node.name}.")


def _of_function(node: ast.FunctionDef, prefix: str) -> Iterator[str]:
    name = f"{prefix}{node.name}".replace(".__init__", "")
    if node.name != "__init__" and node.name.startswith("_"):
        return
    given = node.args
    plain = [*given.posonlyargs, *given.args][-len(given.defaults) :] if given.defaults else []
    pairs = [*zip(plain, given.defaults), *zip(given.kwonlyargs, given.kw_defaults)]
    said = [f"{argument.arg}={ast.unparse(value)}" for argument, value in pairs if value is not None]
    if said:
        yield f"{name}({', '.join(said)})"


if __name__ == "__main__":
    FILE.write_text("\n".join(lines()) + "\n", encoding="utf-8")
