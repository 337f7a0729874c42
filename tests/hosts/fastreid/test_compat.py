"""The shims are needed, are enough, and leave nothing behind: each in a fresh interpreter."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from oamn_plugin.hosts.fastreid.compat import INSTALL_COMMAND

ROOT = Path(__file__).resolve().parents[3]


def run_python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, timeout=240)


def test_each_shim_is_needed_and_both_are_enough_and_nothing_stays_patched() -> None:
    found = run_python("""
import collections, collections.abc, sys, types

def shim_mapping():
    collections.Mapping = collections.abc.Mapping

def shim_six():
    sys.modules["torch._six"] = types.SimpleNamespace(string_classes=(str, bytes))

def tries(*shims):
    for shim in shims:
        shim()
    try:
        import fastreid.data.build
    except ImportError as error:
        return str(error)
    finally:
        for name in [name for name in sys.modules if name.split(".")[0] == "fastreid"]:
            del sys.modules[name]
        vars(collections).pop("Mapping", None)
        sys.modules.pop("torch._six", None)
    return "imported"

print("none:", tries())
print("mapping only:", tries(shim_mapping))
print("six only:", tries(shim_six))
import oamn_plugin.hosts.fastreid, fastreid.engine
print("left:", hasattr(collections, "Mapping"), "torch._six" in sys.modules)
""")
    assert found.returncode == 0, found.stderr
    lines = dict(line.split(": ", 1) for line in found.stdout.splitlines() if ": " in line)
    assert "torch._six" in lines["mapping only"], "the host no longer needs torch._six: drop the shim"
    assert "Mapping" in lines["six only"], "the host no longer needs collections.Mapping: drop the shim"
    assert lines["none"] != "imported"
    assert lines["left"] == "False False"


@pytest.mark.parametrize(
    ("blocked", "message"), [("fastreid", INSTALL_COMMAND), ("termcolor", "pip install termcolor")]
)
def test_a_missing_host_is_one_message_that_names_the_command(blocked: str, message: str) -> None:
    found = run_python(f"""
import sys
sys.modules[{blocked!r}] = None
from oamn_plugin.errors import ExpectedError
try:
    import oamn_plugin.hosts.fastreid
except ExpectedError as error:
    print(type(error).__name__, isinstance(error, ImportError), error)
""")
    assert found.returncode == 0, found.stderr
    assert found.stdout.startswith("HostMissingError True")
    assert message in found.stdout


def test_the_hosts_own_optimiser_still_trains_nothing() -> None:
    """Why ours is used: drop ours when this fails."""
    from fastreid.config import get_cfg
    from fastreid.solver import build_optimizer

    cfg = get_cfg()
    cfg.SOLVER.OPT = "SGD"
    cfg.SOLVER.BASE_LR = 1.0
    model = nn.Linear(3, 2)
    before = model.weight.detach().clone()
    optimizer, _ = build_optimizer(cfg, model)
    optimizer.zero_grad()
    model(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    assert torch.equal(model.weight, before)


def test_nothing_compiles_and_nothing_exits() -> None:
    from oamn_plugin.hosts.fastreid import evaluator
    from oamn_plugin.hosts.fastreid.registries import EVALUATOR_REGISTRY

    assert EVALUATOR_REGISTRY.get("OcclusionUnifiedEvaluator") is evaluator.OcclusionUnifiedEvaluator
    assert "compile_helper" not in Path(evaluator.__file__).read_text()


def test_importing_twice_changes_nothing() -> None:
    import oamn_plugin.hosts.fastreid  # noqa: F401 registration has happened
    from oamn_plugin.hosts.fastreid.compat import install

    before = set(sys.modules)
    install()
    assert set(sys.modules) == before
