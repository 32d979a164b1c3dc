"""What a value of a recipe may be: kinds, ranges and choices, each with the sentence that says so."""

import dataclasses
import math
import types
import typing
from typing import Any, Protocol, TypeAlias

from kdet.errors import short, suggest


class Form(Protocol):
    """What a value may be."""

    def problem(self, value: object) -> str | None:
        """Return why ``value`` does not fit, None where it does."""


# the choices there are, a form, a type, or None for anything
Known: TypeAlias = tuple[Any, ...] | Form | type | None


@dataclasses.dataclass(frozen=True)
class Number:
    """A finite number within a range.

    Attributes:
        low, high: the range, both ends included.
        above: the number must be larger than ``low``.
        whole: a whole number (``2.0`` is one).
        exact: a whole number written without a point.
    """

    low: float = -1e12
    high: float = 1e12
    above: bool = False
    whole: bool = False
    exact: bool = False

    def problem(self, value: object) -> str | None:
        """Why ``value`` does not fit, None where it does."""
        kind = "a whole number" if self.whole else "a number"
        if self.exact and isinstance(value, float):
            return f"expected int, got {short(value)}."
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            hint = ""
            if isinstance(value, str) and _is_number(value):
                hint = " (without quotes)"
            return f"expected {'int' if self.whole else kind}{hint}, got {short(value)}."
        good = math.isfinite(value) if isinstance(value, float) else True
        good = good and self.low <= value <= self.high and not (self.above and value == self.low)
        if not good or (self.whole and value != int(value)):
            return f"expected {kind}{self._range()}, got {short(value)}."
        return None

    def _range(self) -> str:
        low, high = self.low > -1e12, self.high < 2**31 - 1  # nobody asks for more
        start = f" above {self.low:g}" if self.above else f" from {self.low:g} on"
        if low and high:
            return (
                f"{start} and at most {self.high:g}" if self.above else f" from {self.low:g} to {self.high:g}"
            )
        return start if low else f" of at most {self.high:g}" if high else ""


@dataclasses.dataclass(frozen=True)
class List:
    """A list of a number of items.

    Attributes:
        item: what every item must be (anything with ``problem``, or a type), None for anything.
        length: how many there must be, None for any number.
        least: how many there must be at least.
        ordered: items must not become smaller.
    """

    item: Known = None
    length: int | None = None
    least: int = 0
    ordered: bool = False

    def problem(self, value: object) -> str | None:
        """Why ``value`` does not fit, None where it does."""
        if not isinstance(value, (list, tuple)):
            return f"expected a list, got {short(value)}."
        if self.length is not None and len(value) != self.length:
            return f"expected a list of {self.length}, got {short(value)}."
        if len(value) < self.least:
            return f"expected a list of at least {self.least}, got {short(value)}."
        for position, item in enumerate(value):
            text = problem(item, self.item)
            if text:
                return text if isinstance(self.item, tuple) else f"item {position}: {text}"
        if self.ordered and any(a > b for a, b in zip(value, value[1:], strict=False)):
            return f"expected numbers in rising order, got {short(value)}."
        return None


@dataclasses.dataclass(frozen=True)
class Plain:
    """Anything, and mappings below are no objects of kdet, even if they have a ``type``."""

    form: Any = None

    def problem(self, value: object) -> str | None:
        """Why ``value`` does not fit, None where it does."""
        return problem(value, self.form)


@dataclasses.dataclass(frozen=True)
class Part:
    """A mapping with a ``type``: the name of a registered class of one kind, and its keywords.

    Attributes:
        kind: name of the base class.
        many: a list of such mappings.
        default: the type of a mapping without one.
        given: keywords of the constructor that kdet fills in, so that a recipe does not have them.
        extra: ``{key: form}`` of further keys, which are not the constructor's.
        short: ``{name: mapping}`` for which a name alone does, and the types of the kind; None: none do.
    """

    kind: str
    many: bool = False
    default: str | None = None
    given: tuple[str, ...] = ()
    extra: dict[str, Any] = dataclasses.field(default_factory=dict, hash=False)
    short: dict[str, Any] | None = dataclasses.field(default=None, hash=False)


@dataclasses.dataclass(frozen=True)
class Section:
    """A mapping with the keys of a class in ``kdet.settings``."""

    settings: type


@dataclasses.dataclass(frozen=True)
class Text:
    """A text that is not empty; ``name``: what it names, for the message."""

    name: str = "a text"

    def problem(self, value: object) -> str | None:
        """Why ``value`` does not fit, None where it does."""
        if isinstance(value, str) and value.strip() and "\0" not in value:
            return None
        hint = ""
        if isinstance(value, bool):
            hint = " (in YAML a bare yes, no, on or off is a truth value: put it in quotes)"
        elif isinstance(value, (int, float)):
            hint = " (put it in quotes)"
        return f"expected {self.name}, got {short(value)}{hint}."


@dataclasses.dataclass(frozen=True)
class Either:
    """One of several forms."""

    forms: tuple[Known, ...]

    def problem(self, value: object) -> str | None:
        """Why ``value`` does not fit: what the first form of its kind says."""
        texts = [problem(value, form) for form in self.forms]
        if None in texts:
            return None
        for form, text in zip(self.forms, texts, strict=True):
            if isinstance(form, Number) and isinstance(value, (int, float)) and not isinstance(value, bool):
                return text
            if isinstance(form, List) and isinstance(value, (list, tuple)):
                # of several forms of lists the one that fits further
                return next((one for one in texts if one and one.startswith("item ")), text)
        return texts[0] if len(set(texts)) == 1 else " or ".join(t.rstrip(".") for t in texts if t) + "."


def problem(value: object, known: Known) -> str | None:
    """Why ``value`` does not fit ``known`` (choices, a form of this module, a type, or None), or None."""
    if known is None:
        return None
    if isinstance(known, tuple):
        if any(type(value) is type(one) and value == one for one in known):
            return None
        return f"unknown value {short(value)}. {suggest(value, known)}"
    if not isinstance(known, type):
        return known.problem(value)
    if isinstance(value, known) and not (isinstance(value, bool) and known is not bool):
        return None
    names = {bool: "true or false", dict: "a mapping", list: "a list", str: "a text", int: "a whole number"}
    return f"expected {names.get(known, known.__name__)}, got {short(value)}."


def declared(annotation: Any) -> Any:
    """What an annotation says of a value: choices, a form of this module, or None.

    ``Annotated[float, Number(0, 1)]`` declares a range, ``Literal["a", "b"]`` choices; ``| None`` is passed
    over, and other annotations declare nothing.
    """
    if typing.get_origin(annotation) is typing.Annotated:
        forms = (Number, List, Either, Text, Plain, Part, Section)
        return next((one for one in annotation.__metadata__ if isinstance(one, forms)), None)
    if typing.get_origin(annotation) is typing.Literal:
        return typing.get_args(annotation)
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        found = [declared(one) for one in typing.get_args(annotation) if one is not type(None)]
        return found[0] if len(found) == 1 else None
    return None


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False
