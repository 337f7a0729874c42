"""Adapters for multi-object trackers: each gives a tracker the descriptors of :class:`oamn_plugin.Extractor`.

None of the trackers' packages is a dependency, and none is imported before an adapter is used. boxmot is under the
AGPL: it is only ever called by a program that chose to install it.
"""
