"""What each part of a decision costs, from a py-spy recording of `decision_path.py --seconds 20`.

    py-spy record --rate 500 --format raw -o decision.txt -- \\
        python benchmarks/decision_path.py --seconds 20
    python benchmarks/profile_shares.py decision.txt

prints the share of samples in each part. A sample counts for the first part, in the order below,
whose function is on its stack; what no part has is the rest of the decider.
"""

import argparse
from collections import Counter
from pathlib import Path

DECIDE = "decide (router/deciding/decider.py"
# The part, and the frame that tells it, the innermost parts first.
PARTS = (
    ("tokens of the query", "_token_ids (policies/encoders/static.py"),
    ("sum of their vectors", "_sums (policies/encoders/static.py"),
    ("encoding, the rest", "encode (policies/encoders/static.py"),
    ("question features", "question_features (policies/question.py"),
    ("rounding features to float16", "features (policies/features.py"),
    ("is the query known?", "flag_unknown (router/deciding/cases.py"),
    ("all heads", "expected (policies/blend_policy.py"),
    ("probabilities", "arm_probabilities (policies/exploration.py"),
    ("objective and utilities", "of (router/deciding/outlook.py"),
    ("request checked and masked", "read (router/deciding/cases.py"),
    ("arrays into lists", "rows_of (router/deciding/rows.py"),
    ("the draw", "choose (policies/choose.py"),
    ("the event", "event (router/deciding/decision_record.py"),
    ("the answer", "response (router/deciding/decision_record.py"),
    ("the rest", DECIDE),
)


def main() -> None:
    """Print the shares."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("recording", type=Path, help="py-spy's raw format")
    shares = shares_of(options.parse_args().recording.read_text())
    print(f"{'part':<40}{'share':>8}")
    for part, _ in PARTS:
        print(f"{part:<40}{shares[part]:>8.1%}")


def shares_of(recording: str) -> dict[str, float]:
    """By part its share of the samples that were taken in a decision."""
    counts: Counter[str] = Counter()
    for line in recording.splitlines():
        stack, _, count = line.rpartition(" ")
        if DECIDE in stack:
            part = next(name for name, frame in PARTS if frame in stack)
            counts[part] += int(count)
    total = counts.total()
    if not total:
        raise SystemExit("no sample was taken in a decision: was it recorded with --format raw?")
    return {part: counts[part] / total for part, _ in PARTS}


if __name__ == "__main__":
    main()
