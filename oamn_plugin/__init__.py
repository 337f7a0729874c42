"""OAMN (*Occlude Them All*, ICCV 2021) as a plugin for person re-identification toolboxes.

Importing the package loads nothing heavy; import the part you need (``oamn_plugin.modeling``, ``oamn_plugin.losses``,
``oamn_plugin.retrieval``, ...). The adapters of the toolboxes live in ``oamn_plugin.hosts``.
"""

__version__ = "0.1.0"


def __getattr__(name: str) -> object:
    """``oamn_plugin.Extractor``, imported when it is asked for."""
    if name == "Extractor":
        from oamn_plugin.hosts.extractor import Extractor

        return Extractor
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
