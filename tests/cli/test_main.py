"""The command `oamn`: quick and light help, one message an error, and the same from tools/ and `python -m`."""

from __future__ import annotations

import importlib
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from oamn_plugin.cli import doctor
from oamn_plugin.cli import main as cli
from oamn_plugin.cli.completion import SHELLS, command_words, script
from oamn_plugin.errors import MissingPackageError, misfit, need

ROOT = Path(__file__).resolve().parents[2]


def python(*words: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *words], cwd=cwd, capture_output=True, text=True, check=False, timeout=240)


def test_the_overview_names_every_command_and_loads_next_to_nothing() -> None:
    """A fifth of a second is what it may take, which is Python's own start and a handful of small modules."""
    code = "import sys\nbare = {*sys.modules}\nfrom oamn_plugin.cli.main import main\nassert main(['--help']) == 0\n"
    done = python("-c", code + "print(*sys.modules.keys() - bare)")
    assert done.returncode == 0, done.stderr
    *lines, modules = done.stdout.splitlines()
    assert len(modules.split()) < 30, modules
    assert re.findall(r"^  ([a-z-]+)  ", "\n".join(lines), re.M) == list(cli.COMMANDS)


def test_every_module_is_a_command() -> None:
    assert {path.stem for path in (ROOT / "oamn_plugin" / "cli").glob("*.py")} - {"__init__", "main", "parser"} == {
        name.replace("-", "_") for name in cli.COMMANDS
    }


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_every_command_explains_itself_under_its_name(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main([name, "--help"])
    assert ended.value.code == 0
    assert capsys.readouterr().out.startswith(f"usage: oamn {name} ")
    assert importlib.import_module(cli.module_of(name)).build_parser().description


@pytest.mark.parametrize("tool", sorted((ROOT / "tools").glob("[!t]*.py")), ids=lambda path: path.stem)
def test_tools_are_a_few_lines_onto_a_command(tool: Path) -> None:
    lines = tool.read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 16
    (name,) = re.findall(r'command\("([a-z-]+)"\)', "\n".join(lines))
    assert name in cli.COMMANDS


def test_a_tool_of_a_clone_works_from_any_folder(tmp_path: Path) -> None:
    done = python(str(ROOT / "tools" / "train_net.py"), "--list", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "\nMarket1501/oamn_R50" in done.stdout


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["serch"], "oamn: there is no command 'serch'. Did you mean 'search'?"),
        (["train", "market1501/oamn_R5"], "oamn train: there is no configuration file 'market1501/oamn_R5'"),
        (["train", "oamn", "SOLVER.MAX_EPOCHS", "3"], "oamn train: unknown key 'SOLVER.MAX_EPOCHS'"),
        (["train", "torchreid/resnet50", "--num-gpus", "2"], "oamn train: --num-gpus is for fastreid"),
        (["benchmark", "dema"], "oamn benchmark: there is no suite 'dema'. Did you mean 'demo'?"),
        (["search", "remove", "a.jpg", "--index", "nowhere"], "oamn search: there is no gallery index in nowhere"),
    ],
)
def test_mistakes_are_one_message_and_exit_code_2(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(words) == 2
    assert message in capsys.readouterr().err


def test_a_missing_extra_is_one_message_that_names_the_command(tmp_path: Path) -> None:
    code = "import sys\nsys.modules['onnx'] = None\nfrom oamn_plugin.cli.main import main\n"
    done = python("-c", f"{code}sys.exit(main(['export', 'onnx', {str(tmp_path)!r}]))")
    assert done.returncode == 2
    assert done.stderr == "oamn export: onnx is needed and not installed: pip install 'oamn_plugin[export]'\n"
    with pytest.raises(MissingPackageError, match=r"pip install oamn_plugin$"):
        need("no_such_package")


def test_a_package_that_a_command_imports_itself_is_named_too() -> None:
    code = "import sys\nsys.modules['tqdm'] = None\nfrom oamn_plugin.cli.main import main\n"
    done = python("-c", f"{code}sys.exit(main(['search', 'remove', 'a.jpg', '--index', 'nowhere']))")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "tqdm is needed and not installed: pip install oamn_plugin" in done.stderr


def test_doctor_tells_what_a_bug_report_needs(embedded_root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["doctor"]) == 0
    printed = capsys.readouterr().out
    for word in ("Python 3.", "torch ", "fastreid ", "torchreid ", "FASTREID_DATASETS", "packaged model", "CPU, "):
        assert word in printed, word


def test_doctor_goes_on_where_something_is_broken(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As a torch and a torchvision of different builds raise it."""

    error = RuntimeError("operator torchvision::nms does not exist")

    def broken() -> None:
        raise error

    monkeypatch.setattr(torch.cuda, "device_count", broken)
    assert cli.main(["doctor"]) == 0
    printed = capsys.readouterr().out
    assert "devices\n  torch and torchvision do not fit together: pip install" in printed
    assert "data sets\n" in printed
    monkeypatch.setattr(doctor, "main", lambda words: broken())
    assert cli.main(["doctor"]) == 2
    assert capsys.readouterr().err == f"oamn doctor: {misfit(error)}\n"


def test_completion_knows_commands_options_configurations_and_suites() -> None:
    words = command_words()
    assert list(words) == list(cli.COMMANDS)
    assert {"--resume", "oamn", "Market1501/oamn_R50", "torchreid/resnet50"} <= set(words["train"])
    assert {"demo", "--dry-run"} <= set(words["benchmark"])
    assert {"index", "query", "--html"} <= set(words["search"])


@pytest.mark.parametrize("shell", SHELLS)
def test_shells_take_the_completion(shell: str, tmp_path: Path) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    text = script(shell, {"search": ["--html", "index"], "train": ["--list"]})
    if shell != "bash":
        (tmp_path / "completion").write_text(text, encoding="utf-8")
        assert subprocess.run([shell, "-n", str(tmp_path / "completion")], check=False).returncode == 0
        return
    text += '\nCOMP_WORDS=(oamn search --h); COMP_CWORD=2; _oamn; echo "${COMPREPLY[@]}"'
    text += '\nCOMP_WORDS=(oamn tr); COMP_CWORD=1; _oamn; echo "${COMPREPLY[@]}"'
    done = subprocess.run(["bash", "-c", text], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["--html", "train"]
