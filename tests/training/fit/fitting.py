"""Learning from rounds in memory, in one call."""

from training.engines.local import LocalEngine
from training.fit.first_pass import FirstPass
from training.fit.log_fit import LogFit, fit_log
from training.fit.log_passes import LogPasses
from training.fit.training_rows import WarmRows, training_parts
from training.log.partitions import one_part
from training.log.rounds import LoggedRounds


def passes_over(
    rounds: LoggedRounds, *, seed: int = 0, warm: WarmRows | None = None
) -> tuple[LogPasses, FirstPass]:
    """The passes, the first of them done."""
    parts = training_parts(one_part(rounds), float(rounds.at.max()), seed, None, warm)
    passes = LogPasses(LocalEngine(), parts, rounds.arms, rounds.metrics, warm)
    first = passes.first(len(rounds))
    assert first is not None
    return passes, first


def fit_from_rounds(rounds: LoggedRounds, *, seed: int = 0, warm: WarmRows | None = None) -> LogFit:
    """What is learned from all of the rounds."""
    return fit_log(*passes_over(rounds, seed=seed, warm=warm))
