"""The card of a study: one paper as plain text and numbers. Imports nothing heavy.

Knowing the studies must not cost a numerical library: the command that lists them reads cards
alone.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from thalweg.core.errors import InputError, require, unknown

CLAIMS_FILE = "claims.json"  # the verdicts of a run, in its folder

SCALES = {
    "smoke": "seconds: whether it runs, and what holds at any size",
    "quick": "minutes on two cores",
    "full": "larger; the card says what it is",
}

PAPER_SIZE = {
    "all": "the paper's size",
    "part": "in part the paper's size",
    "none": "more than quick, not the paper's size",
}


@dataclass(frozen=True)
class Card:
    """What is said of a paper before anything is run.

    Attributes:
        title: The paper's subject in a few words.
        source: Full citation.
        question: What the paper asks, in a sentence or two.
        minutes: Minutes on two idle cores, about, at "quick" and "full" scale.
        paper_size: Whether full scale has the paper's own size: "all", "part" or "none" of it.
        full: What full scale is, in a sentence.
        answer: What to make of it, in a paragraph, whatever the verdict.
        deviates: Where we depart from the paper or from its specification, and why.
    """

    title: str
    source: str
    question: str
    minutes: Mapping[str, float]
    paper_size: str
    full: str
    answer: str = ""
    deviates: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuse a full scale of which nothing is said."""
        require(self.paper_size in PAPER_SIZE, unknown(self.paper_size, PAPER_SIZE, "paper_size"))
        require(bool(self.full), f"the card of {self.title!r} does not say what full scale is")


def default_folder(slug: str, scale: str) -> Path:
    """Where a study's run goes if nobody says."""
    return Path("runs") / (slug if scale == "quick" else f"{slug}-{scale}")


def claims_held(folder: Path) -> tuple[int, int] | None:
    """How many claims a stored run reproduced, at whichever scale, and of how many.

    Returns:
        The two counts; None if no finished run is there.

    Raises:
        InputError: If the file of its verdicts cannot be read.
    """
    path = folder / CLAIMS_FILE
    try:
        words = [str(row["verdict"]) for row in json.loads(path.read_bytes())]
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path} cannot be read; give the command of the run again") from error
    return sum(word.startswith("reproduced") for word in words), len(words)
