"""Every public function, method and constructor says what it takes and gives; the wheel says that it does."""

import ast
import pathlib

import pytest

PACKAGE = pathlib.Path(__file__).resolve().parents[1] / "kdet"
FILES = sorted(PACKAGE.rglob("*.py"))


def public_functions(node, owner=""):
    """Yields ``(qualified name, function, is a method)`` of a module or class, nested functions left out."""
    for child in ast.iter_child_nodes(node):
        name = child.name if isinstance(child, (ast.ClassDef, ast.FunctionDef)) else ""
        if isinstance(child, ast.ClassDef) and not name.startswith("_"):
            yield from public_functions(child, f"{owner}{name}.")
        elif isinstance(child, ast.FunctionDef) and (not name.startswith("_") or name.endswith("__")):
            static = any(isinstance(d, ast.Name) and d.id == "staticmethod" for d in child.decorator_list)
            yield f"{owner}{name}", child, bool(owner) and not static


def missing(function, is_method):
    """Names of the arguments without annotation, and ``return``."""
    arguments = function.args
    named = [*arguments.posonlyargs, *arguments.args][is_method:] + arguments.kwonlyargs
    named += [extra for extra in (arguments.vararg, arguments.kwarg) if extra is not None]
    found = [argument.arg for argument in named if argument.annotation is None]
    return found + ([] if function.returns is not None else ["return"])


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_public_signatures_are_annotated(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    bare = {name: missing(*rest) for name, *rest in public_functions(tree)}
    assert not {name: found for name, found in bare.items() if found}


def test_missing_annotations_are_seen():
    tree = ast.parse("class A:\n    def __init__(self, x: int, *y, z=1) -> None: ...\n    def f(self): ...\n")
    assert {name: missing(*rest) for name, *rest in public_functions(tree)} == {
        "A.__init__": ["z", "y"],
        "A.f": ["return"],
    }


def test_the_package_is_marked_as_typed():
    assert (PACKAGE / "py.typed").is_file()
    assert '"py.typed"' in (PACKAGE.parent / "setup.py").read_text(encoding="utf-8")
