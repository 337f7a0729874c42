"""Adapters: one folder for each toolbox. Nothing below this package imports a toolbox."""
