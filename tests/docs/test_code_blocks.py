"""Python in the docs is valid, and what it uses of kdet exists and takes the arguments that it is given.

No model is built. Blocks whose every call is in ``FREE`` are executed.
"""

import ast
import builtins
import importlib
import inspect
import pathlib
import re

import pytest

import kdet
from kdet.detectors import Detector
from kdet.results import Results

ROOT = pathlib.Path(__file__).resolve().parents[2]
PAGES = [
    *ROOT.glob("*.md"),
    *ROOT.glob("docs/**/*.md"),
    *ROOT.glob("benchmarks/*.md"),
    *ROOT.glob("custom_ops/*.md"),
]
FREE = {"print", "kdet.zoo.list", "kdet.zoo.info"}
# what these calls give, for the methods that are called on it
GIVES = {"kdet.zoo.load": Detector, "predict": Results}
# attributes that only instances have
PARTS = {"name", "backbone", "neck", "bbox_head", "rpn_head", "roi_head", "mask_head", "preprocessor"}
# names that a page tells the reader to write
WRITTEN_BY_READERS = {("kdet.ops", "scale_rows")}


def _blocks():
    for page in sorted(PAGES):
        text = page.read_text(encoding="utf-8")
        for found in re.finditer(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
            line = text[: found.start()].count("\n") + 2
            yield pytest.param(found[1], line, id=f"{page.relative_to(ROOT).as_posix()}:{line}")


def _parse(text, line=1):
    """The tree of a block, or of lines out of a dictionary; line numbers are those of the page."""
    try:
        tree = ast.parse(text)
    except SyntaxError:
        tree = ast.parse("{\n" + text + "}")
        line -= 1
    return ast.increment_lineno(tree, line - 1)


def _dotted(node):
    """``"kdet.zoo.load"`` of a chain of attributes, or ``None``."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute) and (parent := _dotted(node.value)):
        return f"{parent}.{node.attr}"
    return None


def _resolve(dotted):
    """What ``kdet.x.y`` names; modules that nothing imported yet are imported."""
    value = kdet
    for index, part in enumerate(parts := dotted.split(".")[1:], 1):
        try:
            value = getattr(value, part)
        except AttributeError:
            if not inspect.ismodule(value):
                raise
            try:
                value = importlib.import_module(".".join(["kdet", *parts[:index]]))
            except ImportError:
                raise AttributeError(f"{value.__name__} has no {part}") from None
    return value


def _member(owner, name):
    """The attribute of a class, or of the first of its subclasses that has it."""
    for one in (owner, *owner.__subclasses__()):
        if name in dir(one):
            return getattr(one, name)
    raise AttributeError(f"{owner.__name__} has no {name}")


def _variables(tree):
    """``{variable: class}`` of what calls in ``GIVES`` are assigned to, and of detectors' usual names."""
    known = {"detector": Detector, "model": Detector}
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call) and len(node.targets) == 1:
            called, target = _dotted(node.value.func) or "", node.targets[0]
            given = GIVES.get(called) or GIVES.get(called.rpartition(".")[2])
            if isinstance(target, ast.Name):
                known.pop(target.id, None)
                if given:
                    known[target.id] = given
    return known


def _missing_import(node):
    if isinstance(node, ast.Import):
        names = [alias.name for alias in node.names if alias.name.partition(".")[0] == "kdet"]
    elif isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "kdet":
        written = WRITTEN_BY_READERS
        names = [
            f"{node.module}.{alias.name}" for alias in node.names if (node.module, alias.name) not in written
        ]
    else:
        return None
    for name in names:
        try:
            _resolve(name)
        except AttributeError as error:
            return f"line {node.lineno}: {error}"
    return None


def _wrong_call(node, called, is_method):
    """Why the arguments do not fit, or ``None``; with ``*`` or ``**`` only the named ones count."""
    try:
        signature = inspect.signature(called)
    except (TypeError, ValueError):
        return None  # written in C
    keywords = {keyword.arg: None for keyword in node.keywords if keyword.arg}
    starred = len(keywords) < len(node.keywords) or any(isinstance(a, ast.Starred) for a in node.args)
    positional = [None] * (0 if starred else len(node.args) + is_method)
    try:
        (signature.bind_partial if starred else signature.bind)(*positional, **keywords)
    except TypeError as error:
        return f"line {node.lineno}: {ast.unparse(node.func)}: {error}"
    return None


def problems(text, line=1):
    """What is wrong with a block, one sentence each."""
    tree = _parse(text, line)
    variables = _variables(tree)
    found = [_missing_import(node) for node in ast.walk(tree)]
    calls = {id(node.func): node for node in ast.walk(tree) if isinstance(node, ast.Call)}
    chains = {id(node): node for node in ast.walk(tree) if isinstance(node, ast.Attribute) and _dotted(node)}
    inner = {id(node.value) for node in chains.values()}
    for node in (node for key, node in chains.items() if key not in inner):
        dotted = _dotted(node)
        root, _, rest = dotted.partition(".")
        try:
            if root == "kdet":
                value, is_method = _resolve(dotted), False
            elif root in variables and "." not in rest and rest not in PARTS:
                value, is_method = _member(variables[root], rest), True
            else:
                continue
        except AttributeError as error:
            found.append(f"line {node.lineno}: {error}")
            continue
        if id(node) in calls and callable(value):
            found.append(_wrong_call(calls[id(node)], value, is_method))
    return [problem for problem in found if problem]


def _is_free(tree):
    nodes = list(ast.walk(tree))
    called = {_dotted(node.func) for node in nodes if isinstance(node, ast.Call)}
    plain = not any(isinstance(node, (ast.FunctionDef, ast.ClassDef, ast.With, ast.While)) for node in nodes)
    modules = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    return bool(called) and called <= FREE and plain and modules <= {"kdet"}


@pytest.mark.parametrize("text, line", list(_blocks()))
def test_a_block_is_valid_and_uses_what_exists(text, line):
    assert problems(text, line) == []


def test_free_blocks_run(capsys):
    trees = {param.id: _parse(*param.values) for param in _blocks()}
    free = {name: tree for name, tree in trees.items() if _is_free(tree)}
    assert any(name.startswith("docs/getting_started.md") for name in free), sorted(trees)
    for name, tree in free.items():
        exec(compile(tree, name, "exec"), {"kdet": kdet, "__builtins__": builtins})
    assert "mask_rcnn/mask_rcnn_r50_fpn_1x.yaml" in capsys.readouterr().out


@pytest.mark.parametrize(
    "text, message",
    [
        ("kdet.zoo.lod('x')", "line 1: kdet.zoo has no lod"),
        ("kdet.nothing.at_all", "line 1: kdet has no nothing"),
        ("from kdet.zoo import absent", "line 1: kdet.zoo has no absent"),
        ("kdet.zoo.info()", "line 1: kdet.zoo.info: missing a required argument: 'name'"),
        (
            "\nkdet.zoo.info('x', color=1)",
            "line 2: kdet.zoo.info: got an unexpected keyword argument 'color'",
        ),
        ("detector.predct('x')", "line 1: Detector has no predct"),
        (
            "m = kdet.zoo.load('x')\nm.predict('x', size=3)",
            "line 2: m.predict: got an unexpected keyword .* 'size'",
        ),
    ],
)
def test_what_does_not_exist_is_found(text, message):
    (problem,) = problems(text)
    assert re.match(message, problem), problem
