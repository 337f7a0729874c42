"""Data sets as plain records: readers of the published ones, any user's own, and the generated set.

Nothing heavy is imported here. The parts:

- :mod:`~oamn_plugin.datasets.records`: ``Record``, ``Split``, ``counts``.
- :mod:`~oamn_plugin.datasets.catalogue`: every published set by name, with its counts.
- :mod:`~oamn_plugin.datasets.readers`, :mod:`~oamn_plugin.datasets.custom`: folders and CSV files to records.
- :mod:`~oamn_plugin.datasets.labels`, :mod:`~oamn_plugin.datasets.tables`: what names and tables say of an image.
- :mod:`~oamn_plugin.datasets.images`: files that may be damaged or hostile.
- :mod:`~oamn_plugin.datasets.folders`: folders that are made whole or not at all.
- :mod:`~oamn_plugin.datasets.validation`: identities held out of training, with occluded queries.
- :mod:`~oamn_plugin.datasets.occlude`, :mod:`~oamn_plugin.datasets.occluded_duke`: sets made from other sets.
- :mod:`~oamn_plugin.datasets.cutouts`: the generated set's occluders as files.
- :mod:`~oamn_plugin.datasets.embedded`: the generated data set.
"""
