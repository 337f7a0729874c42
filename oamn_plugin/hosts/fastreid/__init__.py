"""The fastreid adapter. Importing it makes the unmodified host importable and registers every OAMN part by name."""

from oamn_plugin.hosts.fastreid.compat import install

install()

from oamn_plugin.hosts.fastreid import backbones, data, evaluator, losses, meta_arch, transforms  # noqa: E402,F401 only registration
from oamn_plugin.hosts.fastreid.config import add_oamn_config, load_config  # noqa: E402

__all__ = ["add_oamn_config", "load_config"]
