"""Everything is in pyproject.toml, except that the wheel takes ``configs/`` as ``oamn_plugin/configs``."""

from setuptools import find_packages, setup

setup(
    packages=[*find_packages(include=["oamn_plugin", "oamn_plugin.*"]), "oamn_plugin.configs"],
    package_dir={"oamn_plugin.configs": "configs"},
)
