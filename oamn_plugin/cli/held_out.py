"""Scores a training run on the people it held out, with queries occluded in seven ways; made for choosing options.

oamn train market_cpu/oamn_plus DATASETS.MAX_TRAIN_IDS 410 \\
    DATASETS.VALIDATION.NUM_IDS 160 SOLVER.MAX_EPOCH 8 TEST.EVAL_PERIOD 8 OUTPUT_DIR logs/held_out/plus
oamn held-out logs/held_out/plus
oamn held-out logs/held_out/plus --only partial --output /tmp/matched TEST.UNIFICATION matched

The conditions: queries are covered by crops of other people's images (crops), by drawn cars, walls, plants and people
(objects) or by strips (sharp, blurred, black), cut at one side (partial), or left as they are (whole). Each is ranked
as the run is unified and, beside it, plain. Where the occluder is known, masks and predicted sides are compared with
it: mask_auc, side_accuracy (of the matched type, if matched), scorer_side_accuracy. A mask that only knows blurred
strips shows here. The scores are also written to RUN_DIR/held_out/results.json (--output).

--calibrate fits the scorer's temperature and thresholds to these people instead, and stores them in the checkpoint: a
search then says by the scorer what hides a query.
"""

from __future__ import annotations

from pathlib import Path

from oamn_plugin.cli.parser import Parser


def build_parser() -> Parser:
    """The command line."""
    parser = Parser(description=__doc__)
    parser.add_argument("run", type=Path, metavar="RUN_DIR", help="folder of a run with DATASETS.VALIDATION.NUM_IDS")
    parser.add_argument("--only", action="append", metavar="NAME", help="only this condition; repeatable")
    parser.add_argument("--output", type=Path, help="folder for the scores (default: RUN_DIR/held_out)")
    parser.add_argument("--calibrate", action="store_true", help="fit the scorer and store it with the weights")
    parser.add_argument("opts", nargs="*", metavar="KEY VALUE", help="keys for testing, such as TEST.UNIFICATION none")
    return parser


def main(argv: list[str] | None = None) -> int:
    """Runs the command."""
    args = build_parser().parse_intermixed_args(argv)  # keys may follow a flag
    import oamn_plugin.hosts.fastreid  # noqa: F401 only registration
    from oamn_plugin.hosts.fastreid.held_out import calibrate_scorer, held_out_scores, judged_table
    from oamn_plugin.hosts.shared.results import results_table, write_results

    if args.calibrate:
        print(calibrate_scorer(args.run, args.opts))
        return 0
    output = args.output or args.run / "held_out"
    scores = held_out_scores(args.run, args.only, args.opts, output)
    write_results(output, scores, {"opts": args.opts})
    print(results_table(scores))
    print(judged_table(scores))
    return 0
