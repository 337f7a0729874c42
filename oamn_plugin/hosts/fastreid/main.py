"""What ``oamn train`` does: configuration, preflight, training or evaluation."""

from __future__ import annotations

import contextlib
import logging
import random
import sys
from argparse import Namespace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from fastreid.config import CfgNode
from fastreid.utils import comm
from fastreid.utils.collect_env import collect_env_info
from fastreid.utils.logger import setup_logger

from oamn_plugin.errors import ExpectedError
from oamn_plugin.files import clear_write_errors, write_atomically
from oamn_plugin.hosts.fastreid.config import load_config, resolved
from oamn_plugin.hosts.fastreid.inference import without_training
from oamn_plugin.hosts.fastreid.launch import launch, process_count
from oamn_plugin.hosts.fastreid.preflight import preflight
from oamn_plugin.hosts.fastreid.resume import leave_now
from oamn_plugin.hosts.fastreid.trainer import Trainer
from oamn_plugin.hosts.shared.checkpoint import load_newest
from oamn_plugin.hosts.shared.config import altered
from oamn_plugin.hosts.shared.results import results_table
from oamn_plugin.hosts.shared.run_folder import CONFIGURATION, holding_run, write_configuration
from oamn_plugin.hosts.shared.weights import load_weights
from oamn_plugin.signals import answering

logger = logging.getLogger("fastreid.oamn")


def run(args: Namespace) -> None:
    """Runs the command line of ``oamn train``.

    Raises:
        ConfigError, CheckpointError, DataSetError, BadImageError, BadLossError: see there; each is one clear message.
    """
    cfg = load_config(args.config_file, args.opts)
    preflight(cfg, train=not args.eval_only, processes=process_count(args.num_gpus))
    launch(main, args.num_gpus, cfg.MODEL.DEVICE, args.dist_url, (args, cfg))


def main(args: Namespace, cfg: CfgNode) -> dict[str, Any]:
    """One process of a run: trains and tests, or only tests.

    Raises:
        WriteError: the disk is full, or a file or folder cannot be written.
        BusyError: another training runs in ``OUTPUT_DIR``.
        SystemExit: a signal asked the run to stop.
    """
    logging.raiseExceptions = False  # a log file that cannot be written must not bury the error under tracebacks
    with contextlib.ExitStack() as stack:
        stack.enter_context(answering(leave_now))
        stack.enter_context(clear_write_errors())
        if not args.eval_only and comm.is_main_process():
            stack.enter_context(holding_run(Path(cfg.OUTPUT_DIR)))
        cfg = resolved(cfg)
        used = Path(cfg.OUTPUT_DIR) / CONFIGURATION
        before = used.read_bytes() if used.is_file() else None
        _set_up(args, cfg)
        cfg = set_seed(cfg, args.resume)
        if args.eval_only:
            cfg = without_training(cfg)
            model = Trainer.build_model(cfg)
            load_weights(model, cfg.MODEL.WEIGHTS)
            results = Trainer.test(cfg, model, note={"weights": cfg.MODEL.WEIGHTS})
        else:
            try:
                trainer = Trainer(cfg, resume=args.resume)  # the host writes its configuration too
            except ExpectedError:
                if before is not None and comm.is_main_process():
                    write_atomically(used, before)  # what the run in this folder used, which cannot go on otherwise
                raise
            results = trainer.train()
        if comm.is_main_process():
            table = results_table(results)
            logger.info("Results, in percent:\n%s\nWritten to %s/results.json", table, cfg.OUTPUT_DIR)
        return results


def _set_up(args: Namespace, cfg: CfgNode) -> None:
    """Log and record of the configuration; the host's would log it twice and take a test's for the training's."""
    log = setup_logger(cfg.OUTPUT_DIR, comm.get_rank())
    ours = setup_logger(cfg.OUTPUT_DIR, comm.get_rank(), name="oamn_plugin")
    ours.setLevel(logging.INFO)
    ours.propagate = True
    for handler in log.handlers:  # hundreds of lines that nobody reads twice: in the file alone
        if getattr(handler, "stream", None) is sys.stdout:
            handler.setLevel(logging.INFO)
    log.debug("Environment:\n%s\nCommand line: %s\nConfiguration:\n%s", collect_env_info(), args, cfg)
    log.info("Environment and configuration are in %s", Path(cfg.OUTPUT_DIR) / "log.txt")
    if comm.is_main_process():
        write_configuration(Path(cfg.OUTPUT_DIR), cfg.dump(), train=not args.eval_only)
    torch.backends.cudnn.benchmark = cfg.CUDNN_BENCHMARK and not args.eval_only


def set_seed(cfg: CfgNode, resume: bool = False) -> CfgNode:
    """Seeds every generator from ``SEED``; a negative value means the seed of the resumed run, else a random one."""
    if cfg.SEED < 0:
        own = (load_newest(Path(cfg.OUTPUT_DIR)) or {}).get("seed") if resume else None
        cfg = altered(cfg, {"SEED": comm.shared_random_seed() % 2**31 if own is None else own})
        logger.info("SEED is negative: %s %d", "drew" if own is None else "the run's own is", cfg.SEED)
    random.seed(cfg.SEED)
    np.random.seed(cfg.SEED % 2**32)  # noqa: NPY002 the host draws from it
    torch.manual_seed(cfg.SEED)
    return cfg
