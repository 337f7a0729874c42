"""Benchmark suites: their YAML, the commands of their runs, the processes that train them, what is left to do.

Starts trainings as commands of their own and loads no toolbox itself; what the runs gave is told by
:mod:`oamn_plugin.reporting`.
"""
