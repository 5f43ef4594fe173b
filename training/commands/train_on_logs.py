"""How `rag-policy train` learns from a log: read in parts, with imported outcomes beside it."""

from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

from policies.policy import Policy
from training.engines import Engine
from training.errors import InputError
from training.fit.trained_policy import train_on_parts, training_steps
from training.log.log_folder import LogPlace
from training.log.partitions import RoundsParts, log_in_parts
from training.progress import note, progress
from training.remarks import remarks
from training.tables.warm_start import WarmStart, read_warm_start


class Wanted(NamedTuple):
    """What options say of learning from a log."""

    holdout: float | None
    objective: dict[str, float] | None
    tenants: bool
    seed: int


def train_on_logs(
    logs: LogPlace,
    warm: WarmStart | None,
    wanted: Wanted,
    engine: Engine,
    scratch: LogPlace | None,
    source: dict[str, object],
) -> Policy:
    """The policy that a log teaches; what a person should know of the log is said.

    Args:
        logs: where it lies.
        warm: full-information rows to learn from as well.
        wanted: by the options.
        engine: where the passes over it run.
        scratch: where a log too large for memory is put in order.
        source: for the manifest.

    Raises:
        TrainingError: nothing can be learned from it, or the rows have other features.
    """
    with ExitStack() as stack:
        with progress("reading the log"):
            rounds = stack.enter_context(log_in_parts(logs, engine, scratch=scratch))
        if warm is not None and warm.feature_version != rounds.feature_version:
            raise InputError(
                f"was logged with features {rounds.feature_version}, the outcomes have "
                f"{warm.feature_version}: name the log's encoder in --config",
                path=logs,
            )
        return _fitted(rounds, warm, wanted, engine, {**source_of(logs), **source})


def source_of(logs: LogPlace) -> dict[str, object]:
    """Where a policy was learned from, for its manifest."""
    place = str(logs.resolve() if isinstance(logs, Path) else logs)
    return {"source": "logs", "logs": place}


def _fitted(
    rounds: RoundsParts,
    warm: WarmStart | None,
    wanted: Wanted,
    engine: Engine,
    source: dict[str, object],
) -> Policy:
    said: list[str] = []
    try:
        with progress("fitting and choosing candidates", training_steps(rounds)) as advance:
            return train_on_parts(
                rounds,
                engine=engine,
                holdout=wanted.holdout,
                objective=wanted.objective,
                seed=wanted.seed,
                source=source,
                warm=warm,
                tenants=wanted.tenants,
                parent=rounds.policy_version or None,
                advance=advance,
                look=lambda sample, counts: said.extend(remarks(sample, counts)),
            )
    finally:  # also where there was too little to learn from: they may say why
        for line in said:
            note(line)


def warm_start_beside(logs: LogPlace, outcomes: WarmStart | None) -> WarmStart | None:
    """Full-information rows, given or imported.

    Raises:
        InputError: there are both.
    """
    imported = read_warm_start(logs)
    if outcomes is not None and imported is not None:
        raise InputError(
            f"has imported outcomes already: leave --outcomes out, or delete {logs / 'outcomes'}",
            path=logs,
        )
    return outcomes or imported
