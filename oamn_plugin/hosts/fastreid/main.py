"""What ``oamn train`` does: configuration, preflight, training or evaluation."""

from __future__ import annotations

import contextlib
import errno
import logging
import random
from argparse import Namespace
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from fastreid.config import CfgNode
from fastreid.engine import default_setup
from fastreid.utils import comm

from oamn_plugin.errors import ExpectedError
from oamn_plugin.hosts.fastreid.checkpoint import WriteError
from oamn_plugin.hosts.fastreid.config import load_config
from oamn_plugin.hosts.fastreid.launch import launch, process_count
from oamn_plugin.hosts.fastreid.preflight import preflight
from oamn_plugin.hosts.fastreid.results import results_table
from oamn_plugin.hosts.fastreid.resume import leaving_on_signals
from oamn_plugin.hosts.fastreid.trainer import Trainer, load_weights

logger = logging.getLogger("fastreid.oamn")
WRITE_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM)


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
        SystemExit: a signal asked the run to stop.
    """
    logging.raiseExceptions = False  # a log file that cannot be written must not bury the error under tracebacks
    with leaving_on_signals(), clear_write_errors():
        return _main(args, cfg)


@contextlib.contextmanager
def clear_write_errors() -> Iterator[None]:
    """Turns the errors of a full or read-only disk, wherever they come from, into one message."""
    try:
        yield
    except ExpectedError:
        raise
    except OSError as error:
        if error.errno not in WRITE_ERRORS:
            raise
        raise WriteError(
            f"cannot write {error.filename or 'a file'}: {error.strerror}. Checkpoints saved before are intact: make "
            "room or choose another OUTPUT_DIR (or TMPDIR), then go on with --resume"
        ) from error


def _main(args: Namespace, cfg: CfgNode) -> dict[str, Any]:
    default_setup(cfg, args)
    cfg = set_seed(cfg)
    if args.eval_only:
        cfg = _classes_of_weights(cfg)
        model = Trainer.build_model(cfg)
        load_weights(model, cfg.MODEL.WEIGHTS)
        results = Trainer.test(cfg, model, note={"weights": cfg.MODEL.WEIGHTS})
    else:
        results = Trainer(cfg, resume=args.resume).train()
    if comm.is_main_process():
        logger.info("Results, in percent:\n%s\nWritten to %s/results.json", results_table(results), cfg.OUTPUT_DIR)
    return results


def set_seed(cfg: CfgNode) -> CfgNode:
    """Seeds every generator from ``SEED``; a negative one is drawn, logged and put into the configuration."""
    cfg = cfg.clone()
    cfg.defrost()
    if cfg.SEED < 0:
        cfg.SEED = comm.shared_random_seed() % 2**31
        logger.info("SEED is negative: drew %d", cfg.SEED)
    cfg.freeze()
    random.seed(cfg.SEED)
    np.random.seed(cfg.SEED % 2**32)  # noqa: NPY002 the host draws from it
    torch.manual_seed(cfg.SEED)
    return cfg


def _classes_of_weights(cfg: CfgNode) -> CfgNode:
    """For evaluation: no ImageNet weights are fetched, and the classifier, which is not used, is as small as can be."""
    cfg = cfg.clone()
    cfg.defrost()
    cfg.MODEL.BACKBONE.PRETRAIN = False
    cfg.MODEL.HEADS.NUM_CLASSES = cfg.MODEL.HEADS.NUM_CLASSES or 1
    cfg.freeze()
    return cfg
