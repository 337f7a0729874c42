"""Prints a script that makes a shell complete commands and their options.

bash:  eval "$(oamn completion bash)"        in ~/.bashrc
zsh:   eval "$(oamn completion zsh)"         in ~/.zshrc, after compinit
fish:  oamn completion fish > ~/.config/fish/completions/oamn.fish

Configurations complete after `oamn train`, suites after `oamn benchmark`. The script is complete in itself: the Tab key
does not start Python.
"""

from __future__ import annotations

import importlib
import shlex

from oamn_plugin.cli.parser import Parser, words_of
from oamn_plugin.configurations import SUITES, config_files, trainable_configs

SHELLS = ("bash", "zsh", "fish")


def build_parser() -> Parser:
    """The command line."""
    parser = Parser(description=__doc__)
    parser.add_argument("shell", choices=SHELLS)
    return parser


def main(argv: list[str] | None = None) -> int:
    """Runs the command."""
    args = build_parser().parse_args(argv)
    print(script(args.shell, command_words()))
    return 0


def command_words() -> dict[str, list[str]]:
    """Commands with their options, sub-commands, and names of configurations or suites."""
    from oamn_plugin.cli.main import COMMANDS, module_of

    words = {}
    for name in COMMANDS:
        words[name] = sorted(words_of(importlib.import_module(module_of(name)).build_parser()))
    words["train"] += trainable_configs()
    words["benchmark"] += config_files(SUITES)
    return words


def script(shell: str, words: dict[str, list[str]]) -> str:
    """The completion of a shell: commands first, then the words of the command, else files."""
    if shell == "fish":
        lines = [f"complete -c oamn -n __fish_use_subcommand -f -a {shlex.quote(' '.join(words))}"]
        for name, own in words.items():
            lines.append(f"complete -c oamn -n '__fish_seen_subcommand_from {name}' -a {shlex.quote(' '.join(own))}")
        return "\n".join(lines)
    cases = "\n".join(f"    {name}) words={shlex.quote(' '.join(own))} ;;" for name, own in words.items())
    start = "autoload -U +X bashcompinit && bashcompinit\n" if shell == "zsh" else ""
    return f"""{start}_oamn() {{
  local words={shlex.quote(" ".join(words))}
  [ "$COMP_CWORD" -gt 1 ] && case "${{COMP_WORDS[1]}}" in
{cases}
    *) words= ;;
  esac
  COMPREPLY=($(compgen -W "$words" -- "${{COMP_WORDS[COMP_CWORD]}}"))
}}
complete -o default -F _oamn oamn"""
