"""What `scaling` has measured: as a csv, and as a table that says where the time goes."""

import csv
import dataclasses
import statistics
from collections.abc import Sequence
from pathlib import Path

from experiments.benchmarks import timing
from experiments.benchmarks.scaling_worker import SYNTHETIC
from keras_transfer.core.errors import UserError
from keras_transfer.reporting.figures import scaling as scaling_figure

CSV_FILE = "scaling.csv"


@dataclasses.dataclass(frozen=True)
class Row:
    """One measurement of one round; all times are seconds per optimisation step.

    Attributes:
        workers: N.
        input: ``synthetic`` (one batch that stays in memory) or ``real`` (records).
        round: From 0.
        model: Architecture.
        size: Side of the images in pixels.
        batch: Images per step and worker.
        alone: One worker.
        apart: N workers that do not communicate; mean over them.
        team: N workers together; from the first start to the last end.
        alone_cpu: CPU seconds of the one worker.
        apart_cpu: CPU seconds of a worker apart; mean over them.
        team_cpu: CPU seconds of a worker of the team; mean over them.
    """

    workers: int
    input: str
    round: int
    model: str
    size: int
    batch: int
    alone: float
    apart: float
    team: float
    alone_cpu: float
    apart_cpu: float
    team_cpu: float

    @property
    def images_per_second(self) -> float:
        """Throughput T(N) of the team."""
        return self.workers * self.batch / self.team

    @property
    def efficiency(self) -> float:
        """E(N) = T(N) / (N T(1)), with T(1) of the same round."""
        return self.alone / self.team


def table(rows: Sequence[Row]) -> str:
    """Returns throughput and efficiency, and below them where the time of a step goes."""
    groups: dict[tuple[str, int], list[Row]] = {}
    for row in rows:
        groups.setdefault((row.input, row.workers), []).append(row)
    lines = [f"{'input':<10}{'N':>3}{'images/s':>28}{'E(N)':>24}"]
    for (kind, workers), found in groups.items():
        rates = timing.spread([row.images_per_second for row in found])
        shares = timing.spread([row.efficiency for row in found])
        lines.append(f"{kind:<10}{workers:>3}{rates:>28}{shares:>24}")
    lines += ["", "where the time of a step goes, ms and share (medians of the rounds):"]
    for kind, workers in groups:
        parts = _parts(groups[kind, workers], groups[SYNTHETIC, workers])
        total = sum(parts.values())
        text = ", ".join(f"{n} {1e3 * s:.1f} ({s / total:.1%})" for n, s in parts.items())
        lines.append(f"{kind:<10}{workers:>3}  {1e3 * total:.1f} = {text}")
    return "\n".join(lines)


def _parts(rows: Sequence[Row], synthetic: Sequence[Row]) -> dict[str, float]:
    """Splits the step of a team into what each crew, or input, adds to the one before it.

    Differences are taken round by round, like ratios: only within a round is the noise the same.
    """

    def median(values: list[float]) -> float:
        return statistics.median(values)

    pairs = list(zip(rows, synthetic, strict=True))
    parts = {"compute": median([s.alone for _, s in pairs])}
    if rows[0].input != SYNTHETIC:
        parts["input"] = median([r.alone - s.alone for r, s in pairs])
    if rows[0].workers > 1:
        parts["shared machine"] = median([r.apart - r.alone for r in rows])
        parts["all-reduce, CPU"] = median([r.team_cpu - r.apart_cpu for r in rows])
        idle = [(r.team - r.team_cpu) - (r.apart - r.apart_cpu) for r in rows]
        parts["all-reduce, waiting"] = median(idle)
    return parts


def to_csv(rows: Sequence[Row]) -> str:
    """Returns one line per number of workers, input and round."""
    return scaling_figure.rows_to_csv(
        [
            {
                **dataclasses.asdict(row),
                "images_per_second": row.images_per_second,
                "efficiency": row.efficiency,
            }
            for row in rows
        ]
    )


def read_csv(path: Path) -> list[Row]:
    """Reads what `to_csv` wrote.

    Raises:
        UserError: If it is not there, or not such a file.
    """
    fields = dataclasses.fields(Row)
    try:
        with path.open(newline="") as stream:
            found = list(csv.DictReader(stream))
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}.") from None
    rows = []
    for number, line in enumerate(found, start=2):
        try:
            rows.append(Row(**{f.name: f.type(line[f.name]) for f in fields}))  # type: ignore[operator]
        except KeyError as error:
            raise UserError(f"{path}: no column {error.args[0]!r}; is it a {CSV_FILE}?") from None
        except (TypeError, ValueError) as error:
            raise UserError(f"{path}, line {number}: {error}.") from None
    if not rows:
        raise UserError(f"{path} holds no measurement.")
    return rows
