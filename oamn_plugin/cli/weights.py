"""Lists and downloads pretrained weights.

oamn weights list
oamn weights get market_bot_R50

Files are kept in $OAMN_WEIGHTS (default ~/.cache/oamn/weights), or in the folder of --to; files that are there already
are not downloaded. MODEL.INIT, MODEL.WEIGHTS, model.init, model.load_weights and --weights take the same names.
"""

from __future__ import annotations

from pathlib import Path

from oamn_plugin.cli.parser import Parser
from oamn_plugin.weights import Entry, catalogue, entry_of, fetch, weights_folder


def build_parser() -> Parser:
    """The command line."""
    parser = Parser(description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("list", help="every name with data set, published scores and licence")
    get = commands.add_parser("get", help="download the files of a name, or find them in $OAMN_WEIGHTS")
    get.add_argument("names", nargs="+", metavar="NAME", help="as `oamn weights list` shows them")
    get.add_argument("--to", type=Path, metavar="FOLDER", help="another folder, for files that a configuration names")
    return parser


def main(argv: list[str] | None = None) -> int:
    """Runs the command.

    Raises:
        WeightsError: an unknown name, no network, or a file that is not the published one.
    """
    args = build_parser().parse_args(argv)
    if args.command == "list":
        print_list()
        return 0
    for name in args.names:
        files = fetch(name, args.to)
        print(", ".join(map(str, files)))
        if args.to is None:  # else for a configuration, which names the file
            print(use_of(entry_of(name)))
    return 0


def print_list() -> None:
    """Prints the catalogue as a table."""
    from tabulate import tabulate

    rows = [
        [
            one.name,
            one.host,
            one.trained_on,
            ", ".join(f"{name} {s['Rank-1']:.1f} / {s['mAP']:.1f}" for name, s in one.scores.items()),
            one.licence,
            "yes" if all((weights_folder() / file.name).is_file() for file in one.files) else "",
        ]
        for one in catalogue().values()
    ]
    headers = ["name", "of", "trained on", "published Rank-1 / mAP", "licence", "downloaded"]
    print(tabulate(rows, headers=headers, disable_numparse=True))
    print(f"\nDownloads are kept in {weights_folder()}.")
    print("The licence is the publisher's. Images that weights were trained on have terms too, often research only.")


def use_of(entry: Entry) -> str:
    """What to do with the files of an entry."""
    start = f"Start from it: MODEL.INIT {entry.name} (fastreid), model.init {entry.name} (torchreid)"
    use = f"Use it: oamn extract crops/ --out crops.npz --weights {entry.name}; so in search, test and export"
    if entry.host == "openvino":
        return use.replace(", test and export", " and test")
    return f"{start}\n{use}" if entry.config else start
