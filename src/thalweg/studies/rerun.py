"""A paper rerun by its name: experiments, claims, page."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from thalweg.lab.runner import Outcome, run_study
from thalweg.studies import study_named


def study(
    name: str,
    scale: str = "quick",
    out: Path | str | None = None,
    *,
    progress: bool | None = None,
    tell: Callable[[str], None] = lambda text: None,
) -> Outcome:
    """Rerun one paper: experiments, claims, report; what is done is not redone.

    Minutes on two cores at quick scale; `thalweg studies` lists the names and what each costs.

    Args:
        name: A name that `thalweg.studies.STUDIES` lists, or a unique beginning of one.
        scale: "smoke" (seconds), "quick" (minutes on two cores) or "full" (the card says what).
        out: The run folder; `runs/<study>` by default.
        progress: Show bars; None shows them on a terminal, and elsewhere a few lines.
        tell: Called with a line per experiment.

    Returns:
        The verdicts on its claims, and where its page is.

    Raises:
        InputError: If the name or the scale is unknown, or the folder cannot be written.

    Examples:
        >>> outcome = tw.study("elkabetz2021", out="elkabetz")  # minutes; goes on where it stopped
        >>> words = [verdict.word for verdict in outcome.verdicts]  # "reproduced", or why not
    """
    return run_study(study_named(name), scale, out, progress=progress, tell=tell)
