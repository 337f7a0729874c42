#!/usr/bin/env python
"""`oamn weights` from a clone, without installation."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from oamn_plugin.cli.weights import main
from oamn_plugin.errors import ExpectedError

if __name__ == "__main__":
    try:
        sys.exit(main())
    except ExpectedError as error:
        sys.exit(f"weights: {error}")
