"""The command ``fairlead``: ``demo``, ``generate`` and ``check``."""

from __future__ import annotations

import sys
from importlib.util import find_spec

__all__ = ["main"]


def main() -> None:
    """Run the command line; exit status 0: done, 1: it failed, 2: it was asked for something that can't be.

    Mistakes are told in one line, never by a traceback.
    """
    if find_spec("typer") is None or find_spec("rich") is None:
        print("fairlead: the command line needs typer and rich: pip install 'fairlead[cli]'", file=sys.stderr)
        sys.exit(1)
    from fairlead.cli._app import run

    sys.exit(run(sys.argv[1:]))
