"""Adapters: one folder a toolbox. Nothing below this package imports a toolbox."""
