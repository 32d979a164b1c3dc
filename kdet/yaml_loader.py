"""The YAML that recipes are written in."""

import re
from typing import Any

import yaml
from yaml.constructor import ConstructorError

from kdet.errors import ConfigError, first_line, short

MAX_TEXT = 2_000_000
MAX_VALUES = 200_000  # after aliases are written out
MAX_DEPTH = 60
# the quick one, where PyYAML was built with libyaml
_SafeLoader: Any = yaml.CSafeLoader if yaml.__with_libyaml__ else yaml.SafeLoader


class Loader(_SafeLoader):
    """YAML 1.2 numbers (``1e-4`` is a number) and an error for a key that stands twice or is a list."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key_node, _ in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                problem = "a key is one word or number, not a list or a mapping"
                raise ConstructorError(problem=problem, problem_mark=key_node.start_mark)
            if key_node.tag == "tag:yaml.org,2002:merge":
                continue
            key = self.construct_object(key_node)
            if key in seen:
                problem = f"the key {short(key)} stands twice in one mapping"
                raise ConstructorError(problem=problem, problem_mark=key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep=deep)


Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$"),
    list("-+.0123456789"),
)


def load(text: str, where: object) -> Any:
    """The value of a YAML text.

    Args:
        text: str.
        where: the file or option it comes from, for messages.

    Raises:
        ConfigError: no YAML, too large or too deep (aliases written out), or an anchor inside itself.
    """
    if len(text) > MAX_TEXT:
        raise ConfigError(
            f"{where}: a text of {len(text)} characters is no recipe; at most {MAX_TEXT} are read."
        )
    try:
        _check_size(text, where)
        return yaml.load(text, Loader=Loader)
    except ConfigError:
        raise
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        at = f" (line {mark.line + 1}, column {mark.column + 1})" if mark else ""
        raise ConfigError(f"{where}: not valid YAML: {error.problem or error.context}{at}.") from error
    except (yaml.YAMLError, ValueError, OverflowError, RecursionError, TypeError) as error:
        raise ConfigError(f"{where}: not valid YAML: {first_line(error)}.") from error


def _check_size(text: str, where: object) -> None:
    """Counts values and depth from the parser's events, before anything is built."""
    sizes: dict[str, int] = {}
    heights: dict[str, int] = {}
    stack: list[list[Any]] = []
    total = 0
    for event in yaml.parse(text, Loader=Loader):
        if isinstance(event, yaml.AliasEvent):
            if any(anchor == event.anchor for anchor, _, _ in stack):
                raise ConfigError(f"{where}: *{event.anchor} stands inside of itself.")
            total += sizes.get(event.anchor, 1)
            _raise_depth(stack, heights.get(event.anchor, 0), where)
        elif isinstance(event, yaml.ScalarEvent):
            total += 1
            sizes[event.anchor], heights[event.anchor] = 1, 0
        elif isinstance(event, yaml.CollectionStartEvent):
            total += 1
            stack.append([event.anchor, total - 1, 1])
            _raise_depth(stack, 0, where)
        elif isinstance(event, yaml.CollectionEndEvent):
            anchor, before, height = stack.pop()
            sizes[anchor], heights[anchor] = total - before, height
            if stack:
                stack[-1][2] = max(stack[-1][2], height + 1)
        if total > MAX_VALUES:
            raise ConfigError(f"{where}: more than {MAX_VALUES} values (aliases written out) are no recipe.")


def _raise_depth(stack: list[list[Any]], height: int, where: object) -> None:
    if stack:
        stack[-1][2] = max(stack[-1][2], height + 1)
    if len(stack) + height > MAX_DEPTH:
        raise ConfigError(f"{where}: nested more than {MAX_DEPTH} deep.")
