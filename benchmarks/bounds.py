"""Every bound of the table of rates on random problems: the worst ratio of observed to bound.

    python benchmarks/bounds.py [--quick] [--threads N]

1,000 functions each, whose constants are known, in 1 to 6 dimensions, of condition up to 1e6 and in
units of their own; `thalweg.diagnosis.worst_ratios` says what is held against what. A ratio above 1
by more than rounding would be a bound, a constant or a method that is wrong.
"""

from __future__ import annotations

import time

from timing import limit_threads, machine, options, show

from thalweg.diagnosis.worst_ratios import worst_ratios


def main() -> None:
    chosen = options(__doc__)
    limit_threads(chosen.threads)
    instances, steps = (20, 10) if chosen.quick else (1000, 60)
    begun = time.process_time()
    found = worst_ratios(instances, steps)
    columns = ["bound", "held against", "worst ratio", "median of the worst"]
    rows = [
        [str(row["bound"].values), str(row["about"].values), f"{float(row['ratio']):.6g}",
         f"{float(row['median']):.3g}"]
        for row in (found.isel(bound=i) for i in range(found.sizes["bound"]))
    ]  # fmt: skip
    spent = time.process_time() - begun
    about = f"{instances} instances, {steps} steps, {spent:.0f} CPU s"
    show(f"{about}; {machine(chosen.threads)}", columns, rows)


if __name__ == "__main__":
    main()
