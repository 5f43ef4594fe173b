"""`rag-policy decide`: routes a file of queries, offline and greedily."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import click

from training.commands.options import (
    config_option,
    directory_option,
    json_option,
    require_metrics,
    resolve_objective_option,
)

if TYPE_CHECKING:
    from policies.exploration import Floats
    from policies.policy import Policy
    from policies.settings import PolicySettings


@click.command()
@directory_option("--policy", required=True, help="The policy's directory.")
@click.option(
    "--queries",
    required=True,
    type=click.Path(dir_okay=False, path_type=Path),
    help='JSON lines with "query" (and "id"), or plain text, one a line; .gz is read too.',
)
@click.option("--objective", help="A name, or weights as JSON.  [default: balanced]")
@click.option("--tenant", default="", help="Whose queries they are.")
@click.option(
    "--to",
    required=True,
    type=click.Path(dir_okay=False, allow_dash=True, path_type=Path),
    help="The file of decisions, JSON lines; gzip if it ends in .gz; - for standard output.",
)
@config_option
@json_option
def command(
    policy: Path,
    queries: Path,
    objective: str | None,
    tenant: str,
    to: Path,
    config: Path | None,
    as_json: bool,
) -> None:
    """Route a file of queries, offline and without exploration.

    One line a query: its id, the arm and its route, each arm's probability and expected metrics.

    \b
    Examples:
      rag-policy decide --policy policy/ --queries questions.txt --to decisions.jsonl
      rag-policy decide --policy policy/ --queries table.jsonl.gz --to - \\
          --objective '{"quality": 1, "steps": -0.02}'
    """
    from collections import Counter

    import msgspec

    from policies.artifact import read_artifact
    from policies.loading import load_policy
    from policies.objective import ARM_METRICS
    from policies.settings import read_policy_settings
    from training.atomic_file import lines_to
    from training.progress import progress
    from training.tables.queries import read_queries

    if as_json and str(to) == "-":
        raise click.UsageError("--json and --to - both want standard output: name a file")
    settings = read_policy_settings(config)
    loaded = load_policy(read_artifact(policy))
    wanted = resolve_objective_option(objective, settings)
    require_metrics(wanted.weights, (*loaded.metrics, *ARM_METRICS))
    rows = read_queries(queries)
    taken: Counter[str] = Counter()
    with (
        progress("deciding", total=len(rows.queries)) as advance,
        lines_to(to) as write,
    ):
        for decision in _decisions(
            loaded, rows.ids, rows.queries, tenant, wanted.weights, settings
        ):
            taken[decision["arm"]] += 1
            write(msgspec.json.encode(decision))
            advance(1)
    report = {
        "policy": loaded.version,
        "objective": wanted.weights,
        "decisions": len(rows.queries),
        "share": {arm: taken[arm] / len(rows.queries) for arm in loaded.arms},
        "to": str(to),
    }
    if as_json:
        click.echo(msgspec.json.encode(report))
        return
    mix = ", ".join(f"{arm} {taken[arm] / len(rows.queries):.1%}" for arm in loaded.arms)
    click.echo(f"{len(rows.queries):,} decisions written to {to}: {mix}", err=str(to) == "-")


def _decisions(
    policy: "Policy",
    ids: list[str],
    queries: list[str],
    tenant: str,
    weights: dict[str, float],
    settings: "PolicySettings",
) -> Iterator[dict[str, Any]]:
    import numpy as np

    from policies.encoders import load_encoder
    from policies.exploration import GREEDY, arm_probabilities
    from policies.features import Featurizer
    from policies.policy import arm_columns, utilities
    from policies.retrieval_rate import RETRIEVAL_RATE, with_retrieval_rate

    featurizer = Featurizer(load_encoder(settings.encoder))
    arm_columns(policy, policy.arms, featurizer.version)
    routes = [_route(arm, settings) for arm in policy.arms]
    retrieves: list[bool] = []
    for start in range(0, len(queries), 500):
        step = queries[start : start + 500]
        expected = policy.expected(featurizer.features(step), [tenant] * len(step))
        metrics = policy.metrics
        if RETRIEVAL_RATE in weights:
            retrieves = retrieves or _retrieving(policy, expected, settings)
            expected, metrics = with_retrieval_rate(expected, metrics, retrieves)
        eligible = np.ones(expected.shape[:2], dtype=np.bool_)
        probabilities = arm_probabilities(utilities(expected, metrics, weights), eligible, GREEDY)
        chosen = probabilities.argmax(axis=1)
        for row, best in enumerate(chosen.tolist()):
            per_arm = expected[row].tolist()
            yield {
                "id": ids[start + row],
                "arm": policy.arms[best],
                "route": routes[best],
                "probabilities": dict(zip(policy.arms, probabilities[row].tolist(), strict=True)),
                "expected": {
                    arm: dict(zip(metrics, values, strict=True))
                    for arm, values in zip(policy.arms, per_arm, strict=True)
                },
            }


def _retrieving(policy: "Policy", expected: "Floats", settings: "PolicySettings") -> list[bool]:
    """Which arms retrieve: by their routes, or by the steps that the first queries are expected to
    take.
    """
    from policies.retrieval_rate import retrieving_arms

    steps = None
    if "steps" in policy.metrics:
        steps = expected[:, :, policy.metrics.index("steps")].mean(axis=0)
    return retrieving_arms(policy.arms, settings.arm_list(), steps=steps)


def _route(arm: str, settings: "PolicySettings") -> str | None:
    """The arm's configured route; an unconfigured arm named as a route has that one."""
    from policies.arms import Route

    for known in settings.arm_list():
        if known.name == arm:
            return known.route
    return arm if arm in get_args(Route) else None
