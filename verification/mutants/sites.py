"""What can be made wrong in a Python file: operators, constants, conditions, arguments, opposites."""

import ast
import collections
import dataclasses
import hashlib
import re
from collections.abc import Iterator

COMPARISONS = {
    ast.Lt: ("<", "<="),
    ast.LtE: ("<=", "<"),
    ast.Gt: (">", ">="),
    ast.GtE: (">=", ">"),
    ast.Eq: ("==", "!="),
    ast.NotEq: ("!=", "=="),
}
OPERATORS = {
    ast.Add: ("+", "-"),
    ast.Sub: ("-", "+"),
    ast.Mult: ("*", "/"),
    ast.Div: ("/", "*"),
    ast.FloorDiv: ("//", "*"),
    ast.BitAnd: ("&", "|"),
    ast.BitOr: ("|", "&"),
}
OPPOSITES = {
    "maximum": "minimum",
    "reduce_max": "reduce_min",
    "reduce_any": "reduce_all",
    "argmax": "argmin",
    "max": "min",
    "floor": "ceil",
}
OPPOSITES |= {there: here for here, there in OPPOSITES.items()}
# messages and names that only people read; what a dataclass forbids, nobody does
SILENT = re.compile(r"^(_?log(ger)?\.\w+|warnings\.warn|print|\w+\.add_argument|.*\.error|.*\bdataclass)$")
NAMES = frozenset({"name", "help", "description", "stacklevel"})
# a tenth more of a number this small is what no test can see
TINY = 1e-3


@dataclasses.dataclass(frozen=True)
class Mutant:
    """One change of one file.

    Attributes:
        path: file, relative to the checkout.
        kind: what sort of change.
        begin, end: bytes of the file that ``piece`` takes the place of.
        piece: the new text there.
        before, after: the expression before and after the change, in one line.
        line: number of the first line of the expression, from 1.
        text: that line, stripped.
        scope: names of the class and function around it, with dots.
        number: counts equal changes of equal lines in one scope.
        lines: first and last line of the statement (its head, where it has a body) that is changed.
        within: first and last line of the function or class that shows the change, where the statement runs
            when the file is imported; None for one in a function.
        assigned: names that such a statement assigns, or its class.
    """

    path: str
    kind: str
    begin: int
    end: int
    piece: str
    before: str
    after: str
    line: int
    text: str
    scope: str
    number: int
    lines: tuple[int, int]
    within: tuple[int, int] | None
    assigned: tuple[str, ...]

    @property
    def key(self) -> str:
        """Names the change whatever other lines of the file do."""
        parts = [self.path, self.scope, self.text, self.kind, self.before, self.after, str(self.number)]
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]

    @property
    def mutation(self) -> str:
        return f"{self.before} -> {self.after}"

    def apply(self, source: str) -> str:
        """The text of the file with the change."""
        raw = source.encode()
        return (raw[: self.begin] + self.piece.encode() + raw[self.end :]).decode()


def find(source: str, path: str) -> list[Mutant]:
    """All mutants of a Python file, in the order of its text.

    Left out are argument checks (conditions whose body raises), messages, assertions and annotations.

    Args:
        source: text of the file.
        path: its path relative to the checkout.
    """
    finder = _Finder(source, path)
    finder.walk(ast.parse(source), _Place(within=(1, len(finder.rows))))
    return sorted(finder.found, key=lambda mutant: (mutant.begin, mutant.end, mutant.piece))


@dataclasses.dataclass(frozen=True)
class _Place:
    """Where a node stands: see the attributes of `Mutant` of the same names."""

    scope: tuple[str, ...] = ()
    lines: tuple[int, int] = (1, 1)
    within: tuple[int, int] | None = None
    assigned: tuple[str, ...] = ()
    in_function: bool = False


class _Finder:
    def __init__(self, source: str, path: str) -> None:
        self.path, self.raw, self.found = path, source.encode(), []
        self.rows = source.splitlines()
        self.starts = [0]
        for row in source.splitlines(keepends=True):
            self.starts.append(self.starts[-1] + len(row.encode()))
        self.equal = collections.Counter()

    # ---- where things are

    def begin(self, node: ast.AST) -> int:
        return self.starts[node.lineno - 1] + node.col_offset

    def end(self, node: ast.AST) -> int:
        return self.starts[node.end_lineno - 1] + node.end_col_offset

    def text(self, node: ast.AST) -> str:
        return self.raw[self.begin(node) : self.end(node)].decode()

    def walk(self, node: ast.AST, place: _Place) -> None:
        """Notes what can be changed in a node and all below it."""
        if isinstance(node, (ast.Raise, ast.JoinedStr, ast.Assert)) or self._is_silent(node):
            return
        if isinstance(node, ast.stmt):
            place = self._of_statement(node, place)
        skipped = {id(part) for part in self._skipped(node)}
        for shown, kind, begin, end, piece in self._changes(node):
            if id(shown) not in skipped:
                self._note(shown, place, kind, begin, end, piece)
        for field, value in ast.iter_fields(node):
            for child in value if isinstance(value, list) else [value]:
                if isinstance(child, ast.AST) and id(child) not in skipped:
                    self.walk(child, self._below(node, field, place))

    def _is_silent(self, node: ast.AST) -> bool:
        return isinstance(node, ast.Call) and bool(SILENT.match(self.text(node.func)))

    def _skipped(self, node: ast.AST) -> Iterator[ast.AST]:
        """Children that are left alone."""
        if isinstance(node, ast.If) and (_checks(node) or self.text(node.test) == "__name__ == '__main__'"):
            yield node.test
        for field in ("annotation", "returns"):
            if getattr(node, field, None) is not None:
                yield getattr(node, field)

    def _of_statement(self, node: ast.stmt, place: _Place) -> _Place:
        body = getattr(node, "body", None)
        first = min([node.lineno, *(d.lineno for d in getattr(node, "decorator_list", []))])
        last = max(node.lineno, body[0].lineno - 1) if body else node.end_lineno
        assigned = place.assigned
        if isinstance(node, (ast.Assign, ast.AnnAssign)):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            assigned += tuple(n.id for t in targets for n in ast.walk(t) if isinstance(n, ast.Name))
        within = None if place.in_function else place.within
        return dataclasses.replace(place, lines=(first, last), within=within, assigned=assigned)

    def _below(self, node: ast.AST, field: str, place: _Place) -> _Place:
        """The place of what stands in a field of a node."""
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            inner = dataclasses.replace(place, scope=(*place.scope, node.name))
            body = (node.body[0].lineno, node.end_lineno)
            if field == "body":
                return dataclasses.replace(inner, in_function=True, within=None, assigned=())
            return inner if place.in_function else dataclasses.replace(inner, within=body, assigned=())
        if isinstance(node, ast.ClassDef):
            whole = None if place.in_function else (node.lineno, node.end_lineno)
            scope = (*place.scope, node.name)
            return dataclasses.replace(place, scope=scope, within=whole, assigned=(node.name,))
        return place

    def _note(self, node, place, kind, begin, end, piece):
        before = " ".join(self.text(node).split())
        changed = self.raw[self.begin(node) : begin] + piece.encode() + self.raw[end : self.end(node)]
        after = " ".join(changed.decode().split()) if piece else "dropped"
        line = self.rows[node.lineno - 1].strip()
        same = (place.scope, line, kind, before, after)
        self.equal[same] += 1
        self.found.append(
            Mutant(
                path=self.path,
                kind=kind,
                begin=begin,
                end=end,
                piece=piece,
                before=before,
                after=after,
                line=node.lineno,
                text=line,
                scope=".".join(place.scope),
                number=self.equal[same],
                lines=place.lines,
                within=place.within,
                assigned=place.assigned,
            )
        )

    # ---- what can be changed

    def _changes(self, node: ast.AST) -> Iterator[tuple[ast.AST, str, int, int, str]]:
        """``(changed node, kind, begin, end, piece)`` of the changes of one node."""
        if isinstance(node, ast.Compare) and len(node.ops) == 1 and type(node.ops[0]) in COMPARISONS:
            sides = node.left, node.comparators[0]
            yield from self._between(node, *sides, "comparison", *COMPARISONS[type(node.ops[0])])
        elif (
            isinstance(node, ast.BinOp)
            and type(node.op) in OPERATORS
            and not (_is_text(node.left) or _is_text(node.right))
        ):
            yield from self._between(node, node.left, node.right, "operator", *OPERATORS[type(node.op)])
        elif isinstance(node, ast.BoolOp):
            word = " or " if isinstance(node.op, ast.And) else " and "
            yield self._whole(node, "and/or", word.join(f"({self.text(value)})" for value in node.values))
        elif isinstance(node, ast.Constant) and type(node.value) in (int, float, bool):
            yield self._whole(node, "constant", _other(node.value))
        elif isinstance(node, (ast.If, ast.IfExp)):
            yield self._negated(node.test)
        elif isinstance(node, ast.comprehension):
            yield from map(self._negated, node.ifs)
        elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
            if not isinstance(node.operand, ast.Constant):
                yield self._whole(node, "sign", f"({self.text(node.operand)})")
        elif isinstance(node, ast.Call):
            for argument in node.keywords:
                if argument.arg is not None and argument.arg not in NAMES:
                    yield argument, "argument", *self._with_comma(argument), ""
        elif isinstance(node, (ast.Attribute, ast.Name)) and isinstance(node.ctx, ast.Load):
            name = node.attr if isinstance(node, ast.Attribute) else node.id
            if name in OPPOSITES:
                yield node, "opposite", self.end(node) - len(name), self.end(node), OPPOSITES[name]

    def _whole(self, node, kind, piece):
        return node, kind, self.begin(node), self.end(node), piece

    def _negated(self, test):
        return self._whole(test, "condition", f"(not ({self.text(test)}))")

    def _between(self, node, left, right, kind, operator, other):
        """The operator between two nodes; none where a comment stands there too."""
        gap = self.raw[self.end(left) : self.begin(right)].decode()
        if "#" not in gap:
            begin = self.end(left) + gap.index(operator)
            yield node, kind, begin, begin + len(operator), other

    def _with_comma(self, argument):
        """Begin and end of an argument of a call and of the comma before it, or else behind it."""
        begin, end = self.begin(argument), self.end(argument)
        before = self.raw[:begin].rstrip()
        if before.endswith(b","):
            return len(before) - 1, end
        behind = self.raw[end:]
        rest = behind.lstrip()
        return begin, end + (len(behind) - len(rest) + 1 if rest.startswith(b",") else 0)


def _checks(node: ast.If) -> bool:
    return any(isinstance(statement, ast.Raise) for statement in node.body)


def _is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.JoinedStr) or (isinstance(node, ast.Constant) and isinstance(node.value, str))


def _other(value):
    if isinstance(value, bool):
        return repr(not value)
    if isinstance(value, int):
        return repr(value + 1)
    if value == 0:
        return "0.1"
    return repr(value * 1000) if abs(value) < TINY else repr(value * 1.1)
