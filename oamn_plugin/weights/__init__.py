"""Pretrained weights by name: a catalogue (``catalogue.yml``) and the download of what it lists."""

from oamn_plugin.weights.download import fetch, how_to_get, locate, missing_weights, weights_folder
from oamn_plugin.weights.entries import Entry, File, WeightsError, catalogue, entry_of

__all__ = [
    "Entry",
    "File",
    "WeightsError",
    "catalogue",
    "entry_of",
    "fetch",
    "how_to_get",
    "locate",
    "missing_weights",
    "weights_folder",
]
