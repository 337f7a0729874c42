"""Readers of the published data sets: from a set's own folder to its ``Split``, one module a layout.

Identities keep their published numbers, cameras count from 0, every list is sorted by path: two machines agree.
"""
