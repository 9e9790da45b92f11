"""XML as stores write it, read by expat: the root, its children, and the fields of each; what lies deeper is left out.

Expat itself and not ElementTree, which is built on it: importing that takes 6 ms, which the listing of a small folder
would pay, and no answer of S3 needs more than this. Namespaces differ between stores, so only local names are kept.
"""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["BadXml", "Child", "Document", "check_harmless", "parse"]

MAX_TAGS = 2_000_000  # a page of 10 000 keys has some 160 000
_FIELDS = 3  # depth of the fields: the root's is 1


class BadXml(ValueError):
    """The body is empty, cut, not XML, or XML as no store writes it."""


class Child(NamedTuple):
    """A child of the root. Of the fields of one name the last counts; texts end where an element begins in them."""

    name: str
    text: str
    fields: dict[str, str]


class Document(NamedTuple):
    """The root's name and its children, in their order."""

    name: str
    children: list[Child]

    def texts(self) -> dict[str, str]:
        """The texts of the children by their names; of one name the last."""
        return {child.name: child.text for child in self.children}


def check_harmless(body: bytes) -> None:
    """Raises BadXml for what must not come before a parser, ours or that of a client library.

    That is a document type: it is where entities are declared, which expand without end or name files, and no answer of
    S3 has one. A NUL: text in UTF-8 has none, and UTF-16 would hide a document type behind them. More elements than any
    answer has: each takes 100 bytes of memory for 4 of the body.
    """
    if b"<!DOCTYPE" in body or b"\0" in body:
        raise BadXml("it has a document type, as an html page does, or is no UTF-8 text")
    if len(body) > MAX_TAGS and body.count(b"<") > MAX_TAGS:
        raise BadXml("it has more elements than any answer of S3")


def parse(body: bytes) -> Document:
    """The document. Raises BadXml."""
    check_harmless(body)
    import pyexpat  # lazy: an upload of small objects reads no XML

    parser = pyexpat.ParserCreate(None, "}")  # with namespaces, so that a prefix that is not declared is refused
    parser.buffer_text = True
    reader = _Reader()
    parser.StartElementHandler = reader.start
    parser.EndElementHandler = reader.end
    parser.CharacterDataHandler = reader.texts.append
    try:
        parser.Parse(body, True)
    except (pyexpat.ExpatError, ValueError, LookupError) as error:  # the latter two: an encoding Python cannot map
        raise BadXml(str(error)) from None
    return Document(reader.root, reader.children)


class _Reader:
    """What the parser calls. A text is what stands before the first element in it, or before the end."""

    __slots__ = ("_child", "_child_text", "_depth", "_field", "_field_text", "_fields", "children", "root", "texts")

    def __init__(self) -> None:
        self.root = ""
        self.children: list[Child] = []
        self.texts: list[str] = []  # the character data since the last tag
        self._depth = 0
        self._child = self._field = ""
        self._child_text: str | None = None
        self._field_text: str | None = None
        self._fields: dict[str, str] = {}

    def start(self, tag: str, _: dict[str, str]) -> None:
        self._depth = depth = self._depth + 1
        if depth == _FIELDS:
            if self._child_text is None:
                self._child_text = "".join(self.texts)
            self._field = tag[tag.rfind("}") + 1 :]
            self._field_text = None
        elif depth == _FIELDS - 1:
            self._child = tag[tag.rfind("}") + 1 :]
            self._child_text = None
            self._fields = {}
        elif depth == _FIELDS + 1:
            if self._field_text is None:
                self._field_text = "".join(self.texts)
        elif depth == 1:
            self.root = tag[tag.rfind("}") + 1 :]
        self.texts.clear()

    def end(self, _: str) -> None:
        if self._depth == _FIELDS:
            text = self._field_text
            self._fields[self._field] = "".join(self.texts) if text is None else text
        elif self._depth == _FIELDS - 1:
            text = self._child_text
            self.children.append(Child(self._child, "".join(self.texts) if text is None else text, self._fields))
        self._depth -= 1
        self.texts.clear()
