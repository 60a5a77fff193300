"""Rerun a paper: its experiments, its claims, its page. Idempotent: what is done is not redone."""

from __future__ import annotations

import dataclasses
import json
import math
import shlex
import shutil
import time as clock
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import xarray as xr

from thalweg.core.doors import guarded
from thalweg.core.errors import InputError, require, unknown
from thalweg.lab.card import CLAIMS_FILE, PAPER_SIZE, default_folder
from thalweg.lab.checks import Check
from thalweg.lab.claims import REDUCED, REPRODUCED, Verdict, judge
from thalweg.lab.curves import labelled, present
from thalweg.lab.experiment import Experiment, Lab
from thalweg.lab.kept import keep_table, kept_table, seconds_kept, took_before
from thalweg.lab.outlook import Outlook
from thalweg.lab.study import Study
from thalweg.report import (
    ClaimPart,
    ClaimRow,
    Number,
    Page,
    build,
    build_index,
    open_data,
    read_page,
    write_page,
)
from thalweg.report.notebook import card, page_card, plot_figure
from thalweg.storage.files import ReadOnlyError, StoreError, replace, sealed, unsealed, writing
from thalweg.storage.lock import LOCK, locked, require_own
from thalweg.trajectory.provenance import fingerprint, provenance, versions

MARK = "study.json"  # whose a folder is


@guarded("plot")
@dataclass(frozen=True)
class Outcome:
    """A study that was run: its verdicts and where its page is."""

    study: Study
    verdicts: tuple[Verdict, ...]
    page: Path | None
    seconds: float

    @property
    def surprises(self) -> tuple[str, ...]:
        """What came out otherwise than expected, failures that now hold included."""
        return tuple(f"{v.claim.id} {told}" for v in self.verdicts for told in v.surprises)

    def plot(self, what: str = "", ax: Any = None, *, panel: str = "") -> Any:
        """Draw a figure of the study's page with matplotlib.

        Args:
            what: Its name; that of the first by default.
            ax: Axes to draw in, one for each panel; new ones by default.
            panel: The letter of a single panel, as "a"; all by default.

        Returns:
            The axes: of one panel itself, of several an array.

        Raises:
            InputError: If there is no such figure, axes of another number came, or matplotlib is
                not installed.
        """
        page = self._read()
        if page is None or self.page is None or not page.figures:
            raise InputError(f"the page of {self.study.slug} was not written, or has no figures")
        first = what or page.figures[0].name
        return plot_figure(page.figures, _stored_data(page, self.page.parent), first, ax, panel)

    def __str__(self) -> str:
        """How many claims are reproduced, what came out otherwise, and where the page is."""
        told = [f"{self.study.title}: {tally(self.verdicts)}."]
        told += [f"Otherwise than expected: {it}" for it in self.surprises]
        return "\n".join(told if self.page is None else [*told, f"Page: {self.page}"])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        page = self._read()
        if page is None or self.page is None:
            return card(self.study.title, f"{tally(self.verdicts)}.")
        return page_card(page, _stored_data(page, self.page.parent), [f"Page: {self.page}"])

    def _read(self) -> Page | None:
        return None if self.page is None else read_page(self.page.parent)


def _stored_data(page: Page, folder: Path) -> dict[str, xr.Dataset]:
    return {name: open_data(folder, name) for name in page.data_names()}


def experiments(
    study: Study,
    lab: Lab,
    only: Collection[str] | None = None,
    tell: Callable[[str], None] = lambda text: None,
) -> tuple[dict[str, xr.Dataset], float]:
    """The data sets of a study's experiments, run or read back, and the seconds they took.

    Args:
        study: The study.
        lab: Scale and folder. With a folder, an experiment whose code, scale and versions have
            not changed is read back instead of rerun.
        only: Names of the experiments wanted; all by default.
        tell: Called with a line before each experiment.

    Raises:
        InputError: If a name in `only` is not an experiment of the study.
    """
    for name in only or ():
        if name not in study.experiments:
            raise InputError(unknown(name, study.experiments, "experiment"))
    results, seconds = {}, 0.0
    wanted = {n: e for n, e in study.experiments.items() if only is None or n in only}
    keys = {name: _key(experiment, lab) for name, experiment in wanted.items()}
    minutes = study.minutes.get(lab.scale) if only is None else None
    folder = lab.folder
    before = {name: took_before(folder, name, key) for name, key in keys.items()}
    outlook = Outlook(before, minutes and 60 * minutes)
    for name, experiment in wanted.items():
        key = keys[name]
        stored = kept_table(folder, name, key)
        if stored is not None:
            tell(f"{name}: stored, {stored[1]:.0f} s when it was run")
            results[name], took = stored
        else:
            tell(f"{name}: running ({outlook.at(name)})")
            parts = folder and folder / f"{name}.parts"
            begun = clock.perf_counter() - seconds_kept(parts, key)
            results[name] = experiment(dataclasses.replace(lab, parts=parts, key=key))
            took = clock.perf_counter() - begun
            keep_table(folder, name, key, results[name], took)
            if parts is not None:  # the table is made of them
                shutil.rmtree(parts, ignore_errors=True)
        outlook.took(name, took)
        seconds += took
    return results, seconds


def run_study(
    study: Study,
    scale: str = "quick",
    out: Path | str | None = None,
    *,
    progress: bool | None = None,
    tell: Callable[[str], None] = lambda text: None,
) -> Outcome:
    """Rerun a paper: experiments, claims, page.

    Args:
        study: The study.
        scale: "smoke", "quick" or "full".
        out: The run folder; `runs/<slug>` (`runs/<slug>-full`) by default.
        progress: Show bars; None shows them on a terminal, and elsewhere a few lines.
        tell: Called with a line per experiment.

    Raises:
        InputError: If the scale is unknown, or the folder cannot be written or holds other things
            than runs of this study.
    """
    folder = Path(out) if out is not None else default_folder(study.slug, scale)
    require(not folder.is_file(), f"out came as {folder}, a file; give a folder")
    lab = Lab(scale, folder, progress)
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    with locked(folder / LOCK, folder):
        _enter(folder, study.slug)
        results, seconds = experiments(study, lab, tell=tell)
        verdicts = tuple(judge(study.claims, results, lab.scale))
        page = study_page(study, lab, results, verdicts, seconds)
        try:
            with writing(folder):
                table = json.dumps(claims_json(study, verdicts), indent=1)
                replace(folder / CLAIMS_FILE, table.encode())
                write_page(page, folder)
                built = build(folder)
        except ReadOnlyError as error:  # everything was stored before: the verdicts stand
            tell(f"the page was not written: {error}")
            return Outcome(study, verdicts, None, seconds)
    build_index(folder.resolve().parent)
    return Outcome(study, verdicts, built, seconds)


def _enter(folder: Path, slug: str) -> None:
    """Take a new folder for a study, or find it the study's own.

    Raises:
        InputError: If other things are in it.
    """
    mark = folder / MARK
    if mark.exists():
        try:
            holder = unsealed(mark)["study"]
        except StoreError as error:
            raise StoreError(f"{error}; give another folder, or delete that file") from None
        require(holder == slug, f"{folder} holds the study {holder}; give another folder")
    elif not any(folder.glob("*.done.json")):  # which older versions began with
        require_own(folder, MARK)
        with writing(folder):
            replace(mark, sealed({"study": slug}))


class Tally(NamedTuple):
    """How many claims are reproduced, how many of these at reduced scale, of how many."""

    reproduced: int
    reduced: int
    claims: int

    def __str__(self) -> str:
        told = f"{self.reproduced} of {self.claims} claims reproduced"
        return f"{told}, {self.reduced} of them at reduced scale" if self.reduced else told


def tally(verdicts: Collection[Verdict]) -> Tally:
    """Count what is reproduced."""
    words = [v.word for v in verdicts]
    reduced = words.count(REDUCED)
    return Tally(words.count(REPRODUCED) + reduced, reduced, len(words))


def claims_json(study: Study, verdicts: tuple[Verdict, ...]) -> list[dict[str, Any]]:
    """The table of claims for machines: verdicts, the numbers that decide, and every part."""
    return [
        {
            "study": study.slug,
            "scale": v.scale,
            "claim": v.claim.id,
            "statement": v.claim.statement,
            "kind": v.claim.kind,
            "falsified_by": v.claim.falsified_by,
            "paper_size_at": v.claim.paper_size_at,
            "expected_to_hold": not any(because for _, because in v.judged),
            "verdict": v.word,
            **_numbers(v.check),
            "reason": reason_of(v),
            "surprises": list(v.surprises),
            "parts": [
                {"what": single.what, "holds": single.ok, "expected_to_hold": not because}
                | _numbers(single)
                for single, because in v.judged
            ],
        }
        for v in verdicts
    ]


def study_page(
    study: Study,
    lab: Lab,
    results: Mapping[str, xr.Dataset],
    verdicts: tuple[Verdict, ...],
    seconds: float,
) -> Page:
    """The page of a study, as data."""
    count = tally(verdicts)
    failed = [v.claim.id for v in verdicts if v.word == "not reproduced"]
    unexpected = [v.claim.id for v in verdicts if v.surprising]
    headline = str(count)
    headline += f"; not reproduced: {', '.join(failed)}" if failed else ""
    headline += f"; otherwise than expected: {', '.join(unexpected)}" if unexpected else ""
    record = provenance({"study": study.slug, "scale": lab.scale})
    flat: dict[str, Any] = {
        "scale": lab.scale,
        "started": record["started"],
        "command": record["command"],
        **{f"version of {name}": text for name, text in record["versions"].items()},
        **{name: str(text) for name, text in record["platform"].items()},
    }
    flat |= {f"{name}: {key}": str(v) for name, d in results.items() for key, v in d.attrs.items()}
    tone = "warn" if failed or unexpected else "good"
    tone = "bad" if failed and count.reproduced <= len(failed) else tone
    drawn = [f for f in study.figures if all(n in results for n in f.data_names())]
    if lab.scale == "smoke":
        drawn = [left for f in drawn if (left := present(f, results)) is not None]
    drawn = [labelled(f, results) for f in drawn]
    return Page(
        title=study.title,
        kind="study",
        question=study.question,
        verdict=f"{headline}.",
        verdict_tone=tone,
        numbers=(
            Number(
                "claims reproduced",
                f"{count.reproduced} of {count.claims}",
                note=f"{count.reduced} at reduced scale" if count.reduced else "",
                help="Each claim was fixed with its tolerance before it was measured; the table "
                "below shows both. One that is not reproduced is a result like any other, with "
                "its reason.",
            ),
            Number(
                "scale",
                lab.scale,
                note=study.full if lab.scale == "full" else f"full: {PAPER_SIZE[study.paper_size]}",
                help="How large the experiments are. Smoke takes seconds, quick minutes on two "
                "cores; what the full ones are beside the paper's own is said here.",
            ),
            Number(
                "time",
                round(seconds / 60, 2),
                unit="min",
                help="What the experiments took when they ran; stored ones are not run again. "
                "Compiling is included.",
            ),
        ),
        paragraphs=(study.answer,) if study.answer else (),
        figures=tuple(drawn),
        claims=tuple(_row(v) for v in verdicts),
        deviates=study.deviates,
        provenance=flat,
        command=_again(study.slug, lab),
        datasets=tuple(results),
        source=study.source,
        minutes=round(seconds / 60, 2),
    )


def _again(slug: str, lab: Lab) -> str:
    """The command that runs a study again, into the same folder."""
    words = ["thalweg", "study", slug]
    words += [] if lab.scale == "quick" else ["--scale", lab.scale]
    here = lab.folder in (None, default_folder(slug, lab.scale))
    return shlex.join(words if here else [*words, "--out", str(lab.folder)])


def _row(verdict: Verdict) -> ClaimRow:
    claim, check = verdict.claim, verdict.check
    return ClaimRow(
        id=claim.id,
        statement=claim.statement,
        kind=claim.kind,
        falsified_by=claim.falsified_by,
        verdict=verdict.word,
        **_numbers(check),
        reason="; ".join((*verdict.surprises, reason_of(verdict))).removesuffix("; "),
        source=claim.source,
        parts=tuple(
            ClaimPart(single.what, bool(single.ok), not because, **_numbers(single))
            for single, because in (verdict.judged if check and check.parts else ())
        ),
    )


def reason_of(verdict: Verdict) -> str:
    """What decided, why known failures fail, why the claim is stated as it is."""
    reason = verdict.check.reason if verdict.check else verdict.note
    parts = (reason, *verdict.excuses, verdict.claim.because)
    return "; ".join(dict.fromkeys(part for part in parts if part))


def _numbers(check: Check | None) -> dict[str, Any]:
    """What was measured, what was expected, and how far apart the two may be."""
    names = ("measured", "expected", "tolerance")
    return {name: _number(getattr(check, name)) if check else None for name in names}


def _number(value: Any) -> Any:
    if hasattr(value, "item"):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)  # JSON has no word for it
    return value if isinstance(value, int | float | str) else str(value)


def _key(experiment: Experiment, lab: Lab) -> str:
    """What its stored table is known by."""
    known = {"versions": versions(), "scale": lab.scale, "name": experiment.name}
    return fingerprint(known | experiment.known_by(lab.scale))
