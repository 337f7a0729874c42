"""What is known to break on Windows or macOS is not in the code, except where a test asks first whether it is there."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FILES = sorted((ROOT / "oamn_plugin").rglob("*.py"))
POSIX_MODULES = {"fcntl", "grp", "pwd", "resource", "termios", "pty", "syslog"}
POSIX_NAMES = {
    "os.fork", "os.kill", "os.killpg", "os.getpgid", "os.setsid", "os.getuid", "os.geteuid", "os.mkfifo", "os.nice",
    "os.sched_getaffinity", "os.sched_setaffinity", "os.statvfs", "os.uname", "os.wait", "os.WNOHANG", "os.rename",
    "signal.SIGHUP", "signal.SIGKILL", "signal.SIGUSR1", "signal.SIGUSR2", "signal.SIGALRM", "signal.alarm",
    "signal.pause", "signal.setitimer", "signal.SIGCHLD", "signal.SIGSTOP", "signal.SIGQUIT", "time.tzset",
}  # fmt: skip
"""``os.rename`` is here because it replaces a file on POSIX only; ``os.replace`` does everywhere."""
TEXT_CALLS = {"open", "read_text", "write_text"}


def guards(node: ast.AST) -> bool:
    """Whether what lies inside is reached only where something is there."""
    if isinstance(node, ast.Try):
        return any("ImportError" in ast.unparse(handler.type) for handler in node.handlers if handler.type)
    if isinstance(node, ast.If | ast.IfExp):
        return any(word in ast.unparse(node.test) for word in ("os.name", "sys.platform", "hasattr"))
    return False


def problems(tree: ast.AST, guarded: bool = False) -> Iterator[tuple[int, str]]:
    """Line and name of everything that breaks."""
    for node in getattr(tree, "body", []) if isinstance(tree, ast.Module) else ast.iter_child_nodes(tree):
        yield from () if guarded else own_problems(node)
        # a test that returns early guards what comes after it in its function
        early = isinstance(tree, ast.FunctionDef) and isinstance(node, ast.If) and isinstance(node.body[-1], ast.Return)
        yield from problems(node, guarded or guards(node))
        guarded = guarded or (early and guards(node))


def own_problems(node: ast.AST) -> Iterator[tuple[int, str]]:
    if isinstance(node, ast.Import | ast.ImportFrom):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""]
        yield from ((node.lineno, name) for name in names if name in POSIX_MODULES)
    if isinstance(node, ast.Attribute) and ast.unparse(node) in POSIX_NAMES:
        yield node.lineno, ast.unparse(node)
    if not isinstance(node, ast.Call):
        return
    name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
    words = [ast.unparse(one) for one in (*node.args, *(keyword.value for keyword in node.keywords))]
    if name in ("get_context", "set_start_method") and any(word in ("'fork'", "'forkserver'") for word in words):
        yield node.lineno, f"{name}({words[0]})"
    if any(keyword.arg == "preexec_fn" for keyword in node.keywords):
        yield node.lineno, "preexec_fn"
    mode = words[1] if len(words) > 1 and name == "open" else ""
    plain = isinstance(node.func, ast.Name) or name != "open"  # Image.open, archive.open are others
    if name in TEXT_CALLS and plain and "b" not in mode and not any(one.arg == "encoding" for one in node.keywords):
        yield node.lineno, f"{name}() without an encoding"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_nothing_that_breaks_on_windows_is_unguarded(path: Path) -> None:
    assert list(problems(ast.parse(path.read_text(encoding="utf-8")))) == []


@pytest.mark.parametrize(
    ("code", "found"),
    [
        ("import fcntl", ["fcntl"]),
        ("try:\n    import fcntl\nexcept ImportError:\n    pass", []),
        ("import os\nos.kill(1, 2)", ["os.kill"]),
        ("def f():\n    if os.name == 'nt':\n        return\n    os.kill(1, 2)", []),
        ("x = len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else 1", []),
        ("get_context('fork')", ["get_context('fork')"]),
        ("path.read_text()", ["read_text() without an encoding"]),
        ("open(path, 'rb')", []),
    ],
)
def test_the_search_finds_what_it_should(code: str, found: list[str]) -> None:
    assert [name for _, name in problems(ast.parse(code))] == found


def test_no_two_files_differ_in_case_only() -> None:
    names = [path.relative_to(ROOT).as_posix().lower() for path in [*FILES, *(ROOT / "configs").rglob("*.yml")]]
    assert len(names) == len(set(names))
