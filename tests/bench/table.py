"""From the runs of each scenario and peer to a table of their medians."""

import statistics


def figure(report, name):
    """`figure`, `figure/floor` (its ratio to the floor's), or `figure/NUMBER` (in another unit)."""
    name, _, divisor = name.partition("/")
    if divisor == "floor":
        return report["ratios"].get(name)
    value = report["figures"].get(name)
    return value / float(divisor) if divisor and value is not None else value


def medians(scenario, runs):
    """(heading, median) of each column; None where no run has the figure."""
    for name, heading in scenario.columns:
        values = [value for value in (figure(run, name) for run in runs) if value is not None]
        yield heading, statistics.median(values) if values else None


def shown(value):
    if value is None:
        return "-"
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.2f}"


def render(chosen, peers, reports):
    """A block per scenario, a line per peer. `*`: the generator was the bottleneck in one of its runs."""
    blocks = []
    for scenario in chosen:
        headings = [heading for _, heading in scenario.columns]
        rows = [[scenario.name, *headings]]
        for peer in peers:
            runs = reports.get((scenario.name, peer))
            if runs:
                bound = "*" if any(run["generator_bound"] for run in runs) else ""
                rows.append([peer + bound, *(shown(value) for _, value in medians(scenario, runs))])
        blocks.append(aligned(rows))
    return "\n\n".join(blocks) + "\n\n* the generator was the bottleneck in a run\n"


def aligned(rows):
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) if column == 0 else cell.rjust(width) for column, (cell, width) in enumerate(zip(row, widths)))
        for row in rows
    )
