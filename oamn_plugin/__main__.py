"""``python -m oamn_plugin``: the command ``oamn`` where its script is not on the path."""

import sys

from oamn_plugin.cli.main import main

if __name__ == "__main__":  # processes that training starts import this module too
    sys.exit(main())
