"""What a build found and made, as text for people."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from tfrecords_builders import sources
from tfrecords_builders.plan import Job, Plan

_MOST_LABELS = 40


def describe_source(job: Job) -> str:
    """Returns what a source is, its terms, and its options as they are set."""
    source = sources.get(job.source)
    lines = [f"{job.source}: {source.description}", f"licence: {source.licence}"]
    for option in source.options:
        value = option.show(dict(job.options)[option.name])
        lines.append(f"  {option.name}={value}  ({option.help})")
    return "\n".join([*lines, ""])


def table(rows: Sequence[Sequence[Any]]) -> str:
    """Aligns columns; the first to the left, the others to the right."""
    texts = [[f"{cell:,}" if isinstance(cell, int) else str(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*texts)]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if i else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(row, widths))
        ).rstrip()
        for row in texts
    )


def label_table(splits: dict[str, dict[str, Any]]) -> str:
    """Returns labels by split; of a finding the count of every state."""
    names = list(next(filter(None, splits.values()), {}))  # a split may have lost all its images
    rows: list[list[Any]] = [["label", *splits]]
    note = ""
    for name in names[:_MOST_LABELS]:
        cells = [labels.get(name, 0) for labels in splits.values()]
        if any(isinstance(cell, dict) for cell in cells):
            note = "\n(positive/negative/uncertain/not mentioned)"
            cells = ["/".join(map(str, cell.values())) if cell else "0/0/0/0" for cell in cells]
        rows.append([name, *cells])
    more = len(names) - _MOST_LABELS
    if more > 0:
        note += f"\n({more:,} more labels: card.json has all)"
    return table(rows) + note


def _counted(title: str, reasons: Mapping[str, int]) -> list[str]:
    return [f"{title}: {count:,} {reason}" for reason, count in reasons.items()]


def _facts(facts: Mapping[str, Any]) -> list[str]:
    return [
        f"{name.replace('_', ' ')}: {value:,}" if isinstance(value, int) else f"{name}: {value}"
        for name, value in facts.items()
    ]


def describe_plan(plan: Plan, workers: int) -> str:
    """Returns what a plan holds, as text."""
    total = sum(plan.sizes.values())
    rows = [["split", "examples", "patients", "shards"]] + [
        [split, count, plan.patients[split] or "-", len(plan.shards_of(split))]
        for split, count in plan.sizes.items()
    ]
    size = total * plan.bytes_per_example / 2**20
    minutes = total * plan.seconds_per_example / workers / 60
    return "\n".join(
        [
            table(rows),
            "",
            label_table(plan.counts),
            "",
            *_facts(plan.facts),
            *_counted("left out", plan.left_out),
            *_counted("quarantined", Counter(reason for _, reason in plan.defects)),
            f"about {size:,.1f} MB, {minutes:,.1f} minutes on {workers} cores",
        ]
    )


def describe_card(card: dict[str, Any]) -> str:
    """Returns what a finished dataset holds, as text."""
    rows = [["split", "examples", "patients", "shards", "MB"]] + [
        [name, s["examples"], s["patients"] or "-", s["shards"], f"{s['bytes'] / 2**20:,.1f}"]
        for name, s in card["splits"].items()
    ]
    leaks = card["leaks"]
    lines = [table(rows), ""]
    lines += [label_table({name: s["labels"] for name, s in card["splits"].items()}), ""]
    lines += _facts(card["facts"])
    lines += _counted("left out", card["left_out"]) + _counted("quarantined", card["quarantined"])
    if leaks["patients"] or leaks["images_with_equal_pixels"]:
        lines.append(
            f"in several splits: {leaks['patients']:,} patients, "
            f"{leaks['images_with_equal_pixels']:,} images ({leaks['declared']})"
        )
    for split, count in card["published"].items():
        found = card["splits"].get(split, {}).get("examples", 0)
        if found != count:
            lines.append(f"published: {count:,} in {split}, stored: {found:,}")
    return "\n".join(lines)
