"""OAMN (*Occlude Them All*, ICCV 2021) as a plugin for person re-identification toolboxes.

Importing the package loads nothing heavy; import the part you need (``oamn_plugin.modeling``, ``oamn_plugin.losses``,
``oamn_plugin.retrieval``, ...). The adapters of the toolboxes live in ``oamn_plugin.hosts``.
"""

__version__ = "0.1.0"
