"""What training found, as a table for people."""

from typing import Any

from rich.table import Table

from policies.artifact import Manifest


def training_table(manifest: Manifest) -> Table:
    """The candidates of a policy learned from logs, or the models of one learned from outcomes."""
    if "candidates" in manifest.evaluation:
        return _candidates(manifest)
    return _rewards(manifest)


def _candidates(manifest: Manifest) -> Table:
    evaluation = manifest.evaluation
    table = Table(
        title="Cross-fitted doubly robust advantage over the incumbent "
        f"({evaluation['incumbent_value']:.4f}) on {manifest.training['rows']:,} training rounds"
    )
    table.add_column("candidate")
    table.add_column("advantage", justify="right")
    table.add_column("± s.e.", justify="right")
    table.add_column("takes")
    fixed = [{**row, "name": f"always {row['name']}"} for row in evaluation["fixed_arms"]]
    for row in (*fixed, *evaluation["candidates"]):
        chosen = row["name"] == manifest.name
        share = ", ".join(
            f"{arm} {part:.0%}" for arm, part in row["share"].items() if part >= 0.005
        )
        table.add_row(
            f"{row['name']}{'  ← chosen' if chosen else ''}",
            f"{row['advantage']:+.4f}",
            f"{row['standard_error']:.4f}",
            share,
            style="bold" if chosen else None,
        )
    return table


def _rewards(manifest: Manifest) -> Table:
    table = Table(title="Reward models: mean squared error out of fold, lower is better")
    table.add_column("metric")
    by_metric: dict[str, dict[str, dict[str, Any]]] = {}
    for score in manifest.evaluation.get("cross_fitted", ()):
        by_metric.setdefault(score["metric"], {})[score["recipe"]] = score
    for recipe in next(iter(by_metric.values()), {}):
        table.add_column(recipe, justify="right")
    for metric, scores in by_metric.items():
        cells = [
            f"[bold]{score['loss']:.4f}[/bold]" if score["chosen"] else f"{score['loss']:.4f}"
            for score in scores.values()
        ]
        table.add_row(metric, *cells)
    return table


def tenants_line(manifest: Manifest) -> str:
    """What was learned of tenants, in a sentence; empty where the data names none."""
    found = manifest.evaluation.get("tenants", {})
    kept = [name for name, metric in found.get("metrics", {}).items() if metric["kept"]]
    few = found.get("too_small", 0)
    too_small = f"{few} with fewer than {found['min_queries']} reported queries" if few else ""
    if found.get("tenants"):
        gain = f"{found['advantage']:+.4f} ± {found['standard_error']:.4f}, cross-fitted"
        learned = f"{found['tenants']} have expectations of their own in {', '.join(kept)} ({gain})"
    elif found.get("metrics"):
        learned = "none differs from the others as far as these rounds tell"
    else:
        learned = ""
    said = "; ".join(part for part in (learned, too_small) if part)
    return f"tenants: {said}" if said else ""
