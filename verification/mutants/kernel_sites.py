"""What can be made wrong in the C++ kernels: comparisons, operators, constants, smaller for larger."""

import collections
import pathlib
import re

from verification.mutants.sites import Mutant

SWAPS = {
    "comparison": {"<": "<=", "<=": "<", ">": ">=", ">=": ">", "==": "!=", "!=": "=="},
    "operator": {
        "+": "-",
        "-": "+",
        "*": "/",
        "/": "*",
        "+=": "-=",
        "-=": "+=",
        "%": "/",
        "&&": "||",
        "||": "&&",
    },
    "opposite": {"std::min": "std::max", "std::max": "std::min", "std::floor": "std::ceil"},
}
# binary operators stand between spaces, which pointers, templates and signs do not
OPERATOR = re.compile(r"(?<= )(<=|>=|==|!=|<|>|\+=|-=|&&|\|\||[-+*/%])(?= )|\bstd::(?:min|max|floor)\b")
NUMBER = re.compile(r"(?<![\w.])(\d+\.\d*(?:e[-+]?\d+)?|\d+e[-+]?\d+|\d+)(f?)(?![\w.])")
HIDDEN = re.compile(r'//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\])*"|^[ \t]*#[^\n]*', re.DOTALL | re.MULTILINE)
# how work is cut into blocks, and what users are told
BLOCKING = re.compile(r"^.*(\bconstexpr\b|\.(blocks|channels|within)\().*$", re.MULTILINE)
CHECKS = re.compile(r"\b(OP_REQUIRES|OP_REQUIRES_OK|TF_RETURN_IF_ERROR|InvalidArgument|static_assert)\(")
CHECKED = re.compile(r"\bif \((?=[^;{}]*\)\s*\{?\s*return (tensorflow::)?errors::)")


def files(root: pathlib.Path) -> list[str]:
    """The sources of the CPU kernels and of their wrappers, relative to the checkout."""
    found = [*root.glob("custom_ops/*/*.h"), *root.glob("custom_ops/*/*_op.cc")]
    found = [path for path in found if path.parent.name != "tests" and "cuda" not in path.name]
    return sorted(str(path.relative_to(root)) for path in found if path.name not in ("tf_gpu.h", "launch.h"))


def find(source: str, path: str) -> list[Mutant]:
    """All mutants of a C++ file, in the order of its text.

    Left out are messages, checks of arguments, and numbers that only say how work is cut into blocks. What
    is changed stands as whole lines in ``before`` and ``after``.

    Args:
        source: text of the file.
        path: its path relative to the checkout.
    """
    visible = _visible(source)
    changes = []
    for match in OPERATOR.finditer(visible):
        kind = next(kind for kind, swaps in SWAPS.items() if match[0] in swaps)
        changes.append((*match.span(), kind, SWAPS[kind][match[0]]))
    for match in NUMBER.finditer(visible):
        changes.append((*match.span(1), "constant", _other(match[1])))
    equal, found = collections.Counter(), []
    for begin, end, kind, piece in sorted(changes):
        first, last = source.rfind("\n", 0, begin) + 1, (source.find("\n", end) + 1 or len(source) + 1) - 1
        before = source[first:last].strip()
        after = (source[first:begin] + piece + source[end:last]).strip()
        number = source.count("\n", 0, begin) + 1
        equal[before, after] += 1
        found.append(
            Mutant(
                path=path,
                kind=kind,
                begin=len(source[:begin].encode()),
                end=len(source[:end].encode()),
                piece=piece,
                before=before,
                after=after,
                line=number,
                text=before,
                scope="",
                number=equal[before, after],
                lines=(number, number),
                within=None,
                assigned=(),
            )
        )
    return found


def _visible(source):
    """The source with blanks over all that is left out."""
    text = HIDDEN.sub(_blank, source)
    text = BLOCKING.sub(_blank, text)
    for pattern in (CHECKED, CHECKS):
        for match in reversed(list(pattern.finditer(text))):
            end = _closing(text, match.end())
            text = text[: match.end()] + _blank(text[match.end() : end]) + text[end:]
    return text


def _blank(found):
    return re.sub(r"[^\n]", " ", found if isinstance(found, str) else found[0])


def _closing(text, begin):
    """Where the parenthesis closes that opens before ``begin``."""
    depth = 1
    for place in range(begin, len(text)):
        depth += {"(": 1, ")": -1}.get(text[place], 0)
        if depth == 0:
            return place
    return len(text)


def _other(number):
    if re.fullmatch(r"\d+", number):
        return str(int(number) + 1)
    value = float(number)
    return repr(0.1 if value == 0 else value * 1000 if value < 1e-3 else value * 1.1)
