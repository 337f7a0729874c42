"""Registries, of the host's kind, for what the host has none: transforms, samplers, losses, evaluators.

The host's entries are in them too, so that a YAML file names ours and the host's alike.
"""

from __future__ import annotations

from typing import Any

from fastreid.utils.registry import Registry

from oamn_plugin.errors import did_you_mean


class NamedRegistry(Registry):
    """fastreid's registry whose lookup error names the nearest entry."""

    def get(self, name: str) -> Any:
        """Returns the entry of that name.

        Raises:
            KeyError: no such entry; the message names the nearest one and lists all.
        """
        if name not in self._obj_map:
            hint = did_you_mean(name, self._obj_map)
            raise KeyError(f"no {self._name.lower()} named {name!r}.{hint} Known: {', '.join(sorted(self._obj_map))}")
        return self._obj_map[name]

    def add(self, name: str, entry: Any) -> None:
        """Registers an entry under a name of its own."""
        self._do_register(name, entry)


TRANSFORM_REGISTRY = NamedRegistry("TRANSFORM")
"""name -> ``f(cfg, is_train) -> callable or None``: one step of the per-image pipeline, in a worker."""
SAMPLER_REGISTRY = NamedRegistry("SAMPLER")
"""name -> ``f(cfg, items, mini_batch, seed) -> Sampler``: the order of training images."""
LOSS_REGISTRY = NamedRegistry("LOSS")
"""name -> ``f(cfg) -> loss``; the loss is called with ``(outputs, targets, types)`` and gives one weighted scalar."""
EVALUATOR_REGISTRY = NamedRegistry("EVALUATOR")
"""name -> ``f(cfg, dataset_name, query, gallery, occluder=None, judged=True)`` with ``run(model) -> dict``.

``occluder`` covers the queries of held-out training identities; without ``judged`` nothing is compared with a truth.
"""
