"""What ``oamn train`` does: configuration, preflight, training or evaluation."""

from __future__ import annotations

import contextlib
import shlex
import signal
import sys
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

import torch
from yacs.config import CfgNode

from oamn_plugin.files import clear_write_errors
from oamn_plugin.hosts.shared.checkpoint import load_checkpoint, load_newest
from oamn_plugin.hosts.shared.config import altered
from oamn_plugin.hosts.shared.errors import ConfigError
from oamn_plugin.hosts.shared.run_folder import holding_run, write_configuration
from oamn_plugin.hosts.shared.weights import load_weights, start_from
from oamn_plugin.hosts.torchreid.builders import build_datamanager, build_engine, build_model, register_from
from oamn_plugin.hosts.torchreid.compat import host_module
from oamn_plugin.hosts.torchreid.config import load_config, resolved
from oamn_plugin.hosts.torchreid.models import restore_pooling
from oamn_plugin.hosts.torchreid.preflight import check_data, check_settings
from oamn_plugin.signals import INTERRUPTED, answering


def run(args: Namespace) -> int:
    """Runs the command line of ``oamn train``.

    Returns:
        0, or :data:`~oamn_plugin.signals.INTERRUPTED` after Ctrl-C or SIGTERM.

    Raises:
        ConfigError, CheckpointError, DataSetError, BadImageError, BadLossError, BusyError, WriteError: see
            there; each is one clear message.
    """
    cfg = load_config(args.config_file, args.opts)
    if args.eval_only:
        cfg = altered(cfg, {"test.evaluate": True})
    register_from(cfg)
    check_settings(cfg)
    folder = Path(cfg.data.save_dir)
    log = folder / ("test.log.txt" if cfg.test.evaluate else "log.txt")
    lock = contextlib.nullcontext() if cfg.test.evaluate else holding_run(folder)
    try:
        with answering(signal.default_int_handler), clear_write_errors(), lock, _logged(log, append=args.resume):
            train_or_test(cfg, resume=args.resume)
    except KeyboardInterrupt:
        how = f"oamn train {shlex.quote(str(folder / 'config.yaml'))} --resume"
        told = "" if cfg.test.evaluate else f"; finished epochs are kept: go on with --resume, such as {how}"
        print(f"\nstopped{told}", file=sys.stderr)
        return INTERRUPTED
    return 0


def train_or_test(cfg: CfgNode, resume: bool = False) -> dict[str, Any]:
    """Trains and tests, or only tests, as a configuration says.

    Args:
        cfg: of :func:`load_config`, its parts registered.
        resume: go on from the newest checkpoint in ``data.save_dir``; starts afresh where there is none.

    Returns:
        data set to scores in percent.
    """
    host_module("utils").set_random_seed(cfg.train.seed)
    datamanager = build_datamanager(cfg)
    check_data(cfg, datamanager)
    model = build_model(cfg, datamanager.num_train_pids)
    if cfg.model.init:
        print(start_from(model, cfg.model.init))
    if cfg.model.load_weights:
        restore_pooling(model, load_weights(model, cfg.model.load_weights))
        print(f"Loaded weights from {cfg.model.load_weights}")
    engine = build_engine(cfg, datamanager, model)
    start = cfg.train.start_epoch if cfg.test.evaluate else _resume(cfg, engine, resume)
    # not before: a run that cannot go on with it used another
    write_configuration(Path(cfg.data.save_dir), resolved(cfg).dump(), train=not cfg.test.evaluate)
    engine.run(
        save_dir=cfg.data.save_dir,
        max_epoch=cfg.train.max_epoch,
        start_epoch=start,
        fixbase_epoch=cfg.train.fixbase_epoch,
        open_layers=list(cfg.train.open_layers),
        start_eval=cfg.test.start_eval,
        eval_freq=cfg.test.eval_freq,
        test_only=cfg.test.evaluate,
        print_freq=cfg.train.print_freq,
        dist_metric=cfg.test.dist_metric,
        normalize_feature=cfg.test.normalize_feature,
        visrank=cfg.test.visrank,
        visrank_topk=cfg.test.visrank_topk,
        use_metric_cuhk03=cfg.cuhk03.use_metric_cuhk03,
        ranks=list(cfg.test.ranks),
        rerank=cfg.test.rerank,
    )
    return engine.results


def _resume(cfg: CfgNode, engine: Any, newest: bool) -> int:
    """Restores the state asked for; returns the epoch to start with."""
    if cfg.model.resume:
        state, source = load_checkpoint(cfg.model.resume), cfg.model.resume
    elif newest and (found := load_newest(Path(cfg.data.save_dir))) is not None:
        state, source = found, cfg.data.save_dir
    else:
        if newest:
            print(f"There is no checkpoint to resume from in {cfg.data.save_dir}: training starts afresh")
        return int(cfg.train.start_epoch)
    start = engine.resume(state, source)
    if start > cfg.train.max_epoch:
        raise ConfigError(
            f"the run in {source} has trained {start} epochs, more than train.max_epoch {cfg.train.max_epoch}: resume "
            "with the configuration it was started with"
        )
    print(f"Resumed after epoch {start} of {cfg.train.max_epoch}")
    return start


class _Tee:
    """Writes what is printed to the terminal and to a file."""

    def __init__(self, console: TextIO, file: TextIO) -> None:
        self.console, self.file = console, file

    def write(self, text: str) -> int:
        self.file.write(text)
        return self.console.write(text)

    def flush(self) -> None:
        self.file.flush()
        self.console.flush()

    def isatty(self) -> bool:
        return self.console.isatty()


@contextlib.contextmanager
def _logged(path: Path, append: bool) -> Iterator[None]:
    path.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
        file = stack.enter_context(open(path, "a" if append else "w", encoding="utf-8", buffering=1))
        stack.enter_context(contextlib.redirect_stdout(_Tee(sys.stdout, file)))  # type: ignore[type-var]
        print(f"torch {torch.__version__}")
        yield
