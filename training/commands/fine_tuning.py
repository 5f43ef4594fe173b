"""`rag-policy train --fine-tune`: the policy on a fine-tuned encoder, where that is better."""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from policies.policy import Policy
    from policies.settings import PolicySettings
    from training.tables.outcomes import OutcomeTable
    from training.tables.warm_start import WarmStart


def check_fine_tuning(to: Path, settings: "PolicySettings") -> None:
    """What can be refused before anything is computed.

    Raises EncoderError where the encoder isn't static, the extra is missing, or `to` isn't empty.
    """
    from training.encoders.fine_tune import require_fine_tuning
    from training.encoders.static_table import static_directory
    from training.encoders.target import require_new

    static_directory(settings.encoder)
    require_fine_tuning()
    require_new(to, field="fine-tune")


def train_fine_tuned(
    table: "OutcomeTable",
    warm: "WarmStart",
    settings: "PolicySettings",
    to: Path,
    seed: int,
    source: dict[str, object],
) -> "Policy":
    """The policy, and in `to` its encoder where the fine-tuned one is kept; says which it is.

    Args:
        table: full-information rows.
        warm: the same rows, with the features of the configured encoder.
        settings: name the encoder to start from.
        to: the directory for the fine-tuned one.
        seed: of all randomness.
        source: for the manifest.
    """
    import msgspec

    from training.encoders.static_table import read_static_table, static_directory
    from training.encoders.tuned_directory import write_fine_tuned
    from training.fit.encoder_choice import (
        COMPARISON,
        choice_line,
        choice_steps,
        choose_encoder,
        on_written_encoder,
    )
    from training.fit.trained_policy import outcome_folds, train_on_outcomes
    from training.progress import note, progress

    start = static_directory(settings.encoder)
    folds = outcome_folds(warm, seed)
    with progress("fine-tuning and judging", total=choice_steps(folds)) as advance:
        choice = choose_encoder(
            warm, table.queries, read_static_table(start), folds, seed=seed, advance=advance
        )
    note(choice_line(choice.comparison))
    compared = msgspec.to_builtins(choice.comparison)
    if choice.table is not None:
        data = {"rows": len(table), "sha256": table.sha256, "split": source.get("split")}
        written = write_fine_tuned(
            choice.table, start, to, seed=seed, details={"data": data, "comparison": compared}
        )
        warm = on_written_encoder(warm, choice, written)
        note(f'the policy needs it: set encoder = "static:{to}" in router.toml, and in --config')
    return train_on_outcomes(
        warm, seed=seed, source=source, fitted=choice.fitted, evaluation={COMPARISON: compared}
    )
