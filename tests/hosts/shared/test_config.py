from __future__ import annotations

from pathlib import Path

import pytest

from oamn_plugin.configurations import flat
from oamn_plugin.hosts.shared.config import nearest_key, option_value, read_yaml
from oamn_plugin.hosts.shared.errors import ConfigError


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"[" * 5000, "not readable as YAML"),
        (b"a: " + b"{b: " * 5000, "not readable as YAML"),
        (b"a: 2001-99-99", "not readable as YAML"),
        (b"\xff\xfe\x00", "not readable as YAML"),
        (b"- 1", "holds no keys"),
        (b"", "holds no keys"),
    ],
)
def test_odd_yaml_is_one_message(content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "a.yml").write_bytes(content)
    with pytest.raises(ConfigError, match=message) as caught:
        read_yaml(str(tmp_path / "a.yml"))
    assert len(str(caught.value).splitlines()) == 1


def test_missing_files_and_folders(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there is no configuration file"):
        read_yaml(str(tmp_path / "a.yml"))
    with pytest.raises(ConfigError, match="cannot read the configuration"):
        read_yaml(str(tmp_path))


def test_a_key_in_the_wrong_place_comes_before_one_spelt_alike() -> None:
    known = ["train.max_epoch", "test.max_epochs", "MODEL.LR"]
    assert nearest_key("max_epochs", known) == " Did you mean 'test.max_epochs'?"
    assert nearest_key("train.max_epok", known) == " Did you mean 'train.max_epoch'?"
    assert nearest_key("zzz", known) == ""


def test_nested_keys_are_joined() -> None:
    assert flat({"A": {"B": (1, (2,))}, "C": None}) == {"A.B": (1, (2,)), "C": None}


def test_values_of_options() -> None:
    assert option_value("k", 1, "float") == 1.0
    for value, kind in ((True, "int"), (1.5, "int"), (1, "bool"), ("1", "float"), (None, "str")):
        with pytest.raises(ConfigError, match=r"^k must be "):
            option_value("k", value, kind)
