"""Tables, plots, pictures and self-contained pages that say how methods compare.

Reads run folders (``config.yaml``, ``metrics.json``, ``results.json``, ``per_query/*.npz``) and never a model or a
toolbox, so it works on folders copied from another machine.
"""
