"""The lists of a large JSON file, a few megabytes at a time.

A COCO file is one mapping with a few long lists of mappings. A block of it is cut where one entry ends and
the next begins, and given to orjson as a list of its own. A cut in the wrong place (inside an entry, or
inside a text) leaves no valid JSON, so what is parsed is right; then the block is taken entry by entry.
"""

import codecs
import json
import re
from collections.abc import Collection, Iterator
from typing import Any, BinaryIO

import orjson

BLOCK = 2**23
_SPACE = b" \t\r\n"
_BETWEEN = re.compile(r"[ \t\r\n]*,[ \t\r\n]*(?=\{)")
_TRIES = 64  # places at which a block is tried to be cut


class Unusual(Exception):
    """The file is damaged, of another form or another encoding: it has to be read as a whole."""


def lists(file: BinaryIO, keys: Collection[str]) -> Iterator[tuple[str, list[Any]]]:
    """Yields ``(key, some of its entries)`` for those top-level lists that ``keys`` names, in their order.

    An empty list, or ``null`` in its place, is yielded once. Other keys are passed over.

    Args:
        file: opened for reading bytes.
        keys: of the lists.

    Raises:
        Unusual: see there. What was yielded before is right as far as it goes.
    """
    source = _Source(file)
    source.skip(codecs.BOM_UTF8)
    source.expect(b"{")
    seen: set[str] = set()
    if source.peek() == b"}":
        raise Unusual("empty")
    while True:
        key = source.value()
        if not isinstance(key, str) or key in seen:
            raise Unusual("a key is none or stands twice")
        source.expect(b":")
        if key not in keys:
            source.value()
        else:
            seen.add(key)
            for entries in _entries(source):
                if not set(map(type, entries)) <= {dict}:
                    raise Unusual("an entry that is no mapping")
                yield key, entries
        if source.peek() == b"}":
            break
        source.expect(b",")
    source.expect(b"}")
    if source.peek():
        raise Unusual("something stands behind the end")


def _entries(source: "_Source") -> Iterator[list[Any]]:
    """The entries of the list that comes next, a block at a time."""
    if source.peek() == b"n":
        if source.value() is not None:
            raise Unusual("no list")
        yield []
        return
    source.expect(b"[")
    if source.peek() == b"]":
        yield []
    while source.peek() != b"]":
        yield source.block()
        if source.peek() == b",":
            source.expect(b",")
            if source.peek() == b"]":
                raise Unusual("a comma before the end of a list")
    source.expect(b"]")


class _Source:
    """A file of which only what is needed is in memory."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self._buffer, self._at, self._ended = file, b"", 0, False
        self._decoder = json.JSONDecoder()
        self._more()

    def _more(self) -> bool:
        """Reads on; whether there was more."""
        # as much again as is there: a long value is looked at a few times only
        found = self._file.read(max(BLOCK, len(self._buffer) - self._at))
        self._buffer, self._at = self._buffer[self._at :] + found, 0
        self._ended = not found
        return bool(found)

    def skip(self, start: bytes) -> None:
        if self._buffer.startswith(start, self._at):
            self._at += len(start)

    def peek(self) -> bytes:
        """The next character that is no space; empty at the end."""
        while True:
            while self._at < len(self._buffer):
                if self._buffer[self._at] not in _SPACE:
                    return self._buffer[self._at : self._at + 1]
                self._at += 1
            if not self._more():
                return b""

    def expect(self, character: bytes) -> None:
        if self.peek() != character:
            raise Unusual(f"no {character!r}")
        self._at += 1

    def value(self) -> Any:
        """The next value of any kind."""
        self.peek()
        while True:
            text = self._text()
            try:
                found, end = self._decoder.raw_decode(text)
                rest = text[end:].lstrip()
                if rest or self._ended:  # a number may go on
                    self._at += len(text[:end].encode("utf-8", "surrogatepass"))
                    return found
            except RecursionError as error:
                raise Unusual("nested too deeply") from error
            except ValueError as error:
                if self._ended:
                    raise Unusual("no JSON") from error
            self._more()

    def block(self) -> list[Any]:
        """Some of the next entries of a list, at least one; a comma or the end of the list comes next."""
        if len(self._buffer) - self._at < BLOCK:
            self._more()
        cut = len(self._buffer)
        for _ in range(_TRIES):
            cut = self._buffer.rfind(b"{", self._at + 1, cut)
            if cut < 0:
                break
            before = self._buffer[max(self._at, cut - 256) : cut].rstrip()
            if before.endswith(b",") and before[:-1].rstrip().endswith(b"}"):
                end = cut - len(self._buffer[max(self._at, cut - 256) : cut]) + len(before) - 1
                try:
                    found = orjson.loads(b"[%b]" % self._buffer[self._at : end])
                except ValueError:  # cut in the wrong place, behind the end, or something that orjson refuses
                    break
                self._at = end
                return list(found)
        return self._singly()

    def _singly(self) -> list[Any]:
        while True:
            text, found = self._text(), []
            begin = end = 0
            while True:
                try:
                    entry, end_of_entry = self._decoder.raw_decode(text, begin)
                except RecursionError as error:
                    raise Unusual("nested too deeply") from error
                except ValueError:  # cut off, or no JSON
                    break
                if not isinstance(entry, dict):  # a number may be cut off
                    raise Unusual("an entry that is no mapping")
                found.append(entry)
                end = end_of_entry
                between = _BETWEEN.match(text, end)
                if between is None:
                    break
                begin = between.end()
            if found:
                self._at += len(text[:end].encode("utf-8", "surrogatepass"))
                return found
            if self._ended:
                raise Unusual("no JSON")
            self._more()

    def _text(self) -> str:
        """What is in memory, without the beginning of a character at its end."""
        try:
            return codecs.getincrementaldecoder("utf-8")().decode(self._buffer[self._at :])
        except UnicodeDecodeError as error:
            raise Unusual("no UTF-8") from error
