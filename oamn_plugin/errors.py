"""The root of every error that a user can mend; commands show its message alone, without a traceback."""

from __future__ import annotations


class ExpectedError(Exception):
    """Something in what the user gave (a file, a key, a folder) that stands in the way; the message says what to do."""

    def __str__(self) -> str:
        return "\n".join(map(printable, super().__str__().split("\n")))


def printable(name: str) -> str:
    r"""A name from elsewhere, such as a file's, as text that every terminal, page and file takes.

    Bytes that are not UTF-8 (``surrogateescape``), control characters and marks that turn the direction of writing
    become escapes; a terminal would obey some of them, and UTF-8 cannot write others.

    >>> print(printable("caf\udce9\x1b[31m.jpg"), printable("Jürgen 4.jpg"))
    caf\xe9\x1b[31m.jpg Jürgen 4.jpg
    """
    return name if name.isprintable() else "".join(c if c.isprintable() else _escape(c) for c in name)


def _escape(character: str) -> str:
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:  # how Python holds a byte that is not UTF-8
        return f"\\x{code - 0xDC00:02x}"
    return character.encode("unicode_escape").decode()
