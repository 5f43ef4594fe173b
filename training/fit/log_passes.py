"""The passes over a log's parts, on an engine: each step's results added up in the parts' order."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import NamedTuple, TypeVar

from training.engines import Engine
from training.fit.cluster_sums import ClusterSums
from training.fit.first_pass import FirstPass, Summaries, summary_of
from training.fit.joint_model import JointModel
from training.fit.joint_pass import JointPart, Reading, joint_part, reports_of
from training.fit.log_evidence import LogEvidence, nested_heads
from training.fit.preparation import Prepared, prepare, reading_of
from training.fit.row_sample import sample_share
from training.fit.row_sums import added
from training.fit.target_pass import Nuisance, TargetSums, target_sums
from training.fit.tenant_effects import TenantSums
from training.fit.tenant_pass import AroundHeads, gained_part, tenant_part
from training.fit.training_rows import TrainingPart, WarmRows
from training.fit.value_pass import Judged, ValueSums, value_sums
from training.log.rounds import Floats
from training.reporting.audit import Reports
from training.trained_queries import QueryFilter

Result = TypeVar("Result")

# With the two for tenants.
PASSES = 6


class Known(NamedTuple):
    """What the passes up to the third found."""

    evidence: LogEvidence
    nuisance: Nuisance
    query_filter: str


class LogPasses:
    """Runs steps on every part, and adds up."""

    def __init__(
        self,
        engine: Engine,
        parts: Sequence[TrainingPart],
        arms: tuple[str, ...],
        metrics: tuple[str, ...],
        warm: WarmRows | None = None,
        advance: Callable[[int], None] = lambda _: None,
    ) -> None:
        """Take the parts.

        Args:
            engine: where steps run.
            parts: of the log, one at least, warm rows with them.
            arms: their names.
            metrics: their names.
            warm: all the full-information rows.
            advance: told of each part and pass, of `PASSES` times the parts.
        """
        self._engine, self._parts, self._warm, self._advance = engine, parts, warm, advance
        self.arms, self.metrics = arms, metrics

    def _each(self, step: Callable[[TrainingPart], Result], warm: bool = True) -> Iterator[Result]:
        """Each part's result, in order; without `warm` of the logged rounds alone."""
        parts = self._parts if warm else [replace(part, warm=None) for part in self._parts]
        for result in self._engine.map(step, parts):
            yield result
            self._advance(1)

    def first(self, rows: int) -> FirstPass | None:
        """Moments, counts and a sample, of so many rounds; None where there is no round."""
        summaries = Summaries()
        for part in self._each(partial(summary_of, share=sample_share(rows))):
            summaries.add(part)
        return summaries.total()

    def second(self, first: FirstPass) -> Known:
        """The second pass and the third: the joint model, then pseudo-outcomes."""
        counts = first.counts
        reading = self._tilted(reading_of(first), counts.rows)
        prepared = prepare(first, reading, self._warm, self._parts[0].seed)
        found, trained = self._joint(prepared, counts.queries)
        joint = JointModel(prepared.basis, found.joint, prepared.settings, len(self.arms))
        nuisance = Nuisance(
            prepared.reading,
            {fold: sums.normaliser for fold, sums in found.inverse.items()},
            nested_heads(joint),
            counts.observed,
            counts.prior,
        )
        targets: dict[int, TargetSums] = {}
        for part in self._each(partial(target_sums, nuisance=nuisance)):
            targets = added(targets, part)
        evidence = LogEvidence(
            counts,
            prepared.moments,
            prepared.reading.scale,
            joint,
            targets,
            self.metrics,
            prepared.sampled,
        )
        return Known(evidence, nuisance, trained.text())

    def _tilted(self, reading: Reading, rows: int) -> Reading:
        """With what audits show fitted to all rounds' reports: a pass of its own, and only where a
        sample of the log showed it.
        """
        tilted = [m for m, one in enumerate(reading.reporting) if one.tilt is not None]
        if not tilted or sample_share(rows) >= 1.0:
            return reading
        step = partial(reports_of, reading=reading, metrics=tilted)
        found = [one for part in self._engine.map(step, self._parts) for one in part]
        reporting = list(reading.reporting)
        for position, m in enumerate(tilted):
            reports = Reports.joined([one[position] for one in found])
            reporting[m] = reporting[m].tilted(reports)
        return reading._replace(reporting=tuple(reporting))

    def _joint(self, prepared: Prepared, queries: int) -> tuple[JointPart, QueryFilter]:
        step = partial(
            joint_part,
            reading=prepared.reading,
            basis=prepared.basis,
            settings=prepared.settings,
        )
        total = JointPart({}, {})
        trained = QueryFilter(queries + len(set(self._warm.query_hashes if self._warm else ())))
        for part, hashes in self._each(step):
            total = total.plus(part)
            trained.add(hashes)
        return total, trained

    def values(self, judged: Judged) -> ValueSums:
        """Every candidate's value."""
        total: ValueSums | None = None
        for part in self._each(partial(value_sums, judged=judged), warm=False):
            if part is not None:
                total = part if total is None else total.plus(part)
        assert total is not None
        return total

    def tenants(self, around: AroundHeads) -> dict[int, TenantSums]:
        """Tenants' sums by fold."""
        total: dict[int, TenantSums] = {}
        for part in self._each(partial(tenant_part, around=around), warm=False):
            total = added(total, part)
        return total

    def gained(self, around: AroundHeads, offsets: Mapping[int, Floats]) -> ClusterSums:
        """What tenants' offsets, by fold, gain over the heads alone."""
        step = partial(gained_part, around=around, offsets=offsets)
        found = [part for part in self._each(step, warm=False) if part is not None]
        total = found[0]
        for part in found[1:]:
            total = total.plus(part)
        return total
