#!/usr/bin/env python
"""`oamn weights` from a clone, without installation."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from oamn_plugin.cli.main import command

main = command("weights")
if __name__ == "__main__":
    sys.exit(main())
