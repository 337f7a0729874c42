"""The command line of every command: help as it is written, and the nearest known word for a mistyped one."""

from __future__ import annotations

import argparse
import re
import sys
from typing import Any, NoReturn

from oamn_plugin.errors import did_you_mean


class Parser(argparse.ArgumentParser):
    """A parser that asks "Did you mean ...?", which argparse itself can only from Python 3.14."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**{"formatter_class": argparse.RawDescriptionHelpFormatter, **settings})

        self.elsewhere: dict[str, str] = {}
        """Options of other commands, and what stands for them here."""

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """As argparse's, which hears of a mistyped option only after it has missed the right one."""
        self._given = [str(word) for word in (sys.argv[1:] if args is None else args)]
        return super().parse_known_args(args, namespace)

    def error(self, message: str) -> NoReturn:
        """Ends the command with exit code 2."""
        choice = re.search(r"invalid choice: '([^']*)' \(choose from (.*)\)", message)
        if choice:
            wrong, known = [choice[1]], set(re.findall(r"[^\s',]+", choice[2]))
        else:
            known = words_of(self)
            given = (word.partition("=")[0] for word in self._given if word.startswith("--"))
            wrong = [word for word in given if not any(option.startswith(word) for option in known)]
        hints = "".join(self._hint(word, known, message) for word in wrong)
        super().error(f"{message}.{hints}" if hints else message)

    def _hint(self, word: str, known: set[str], message: str) -> str:
        if word in self.elsewhere:
            return f" {self.elsewhere[word]}."
        hint = did_you_mean(word, known)
        return f" There is no {word}.{hint}" if hint and word not in message else hint


def words_of(parser: argparse.ArgumentParser) -> set[str]:
    """Options, sub-commands and choices of a parser, those of its sub-commands too."""
    words: set[str] = set()
    for action in parser._actions:
        words.update(option for option in action.option_strings if option.startswith("--"))
        if isinstance(action, argparse._SubParsersAction):
            for name, child in action.choices.items():
                words |= {name, *words_of(child)}
        elif not action.option_strings:
            words.update(map(str, action.choices or ()))
    return words
