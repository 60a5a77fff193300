"""What a command leaves behind, and the mark of a command that was accepted."""

from typing import NamedTuple


class Said(NamedTuple):
    """What a command left behind."""

    code: int
    out: str
    err: str


class Reached(BaseException):
    """All arguments were accepted; the work would begin."""
