"""How the command line ends."""

from __future__ import annotations

import sys
from typing import NoReturn


def end(code: int) -> NoReturn:
    """Leave with a code, also after a Ctrl-C that came while a text was evaluated.

    `python -m` ends by the signal itself if the last text that Python evaluated was interrupted, as
    in the making of a named tuple, whoever has caught it since: one more text takes that back.
    """
    exec("")
    sys.exit(code)
