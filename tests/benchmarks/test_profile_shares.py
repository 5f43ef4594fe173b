"""The parts of a decision are told by the functions that take them."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_each_part_names_a_function_that_is_there() -> None:
    from profile_shares import PARTS

    for part, frame in PARTS:
        function, _, file = frame.partition(" (")
        assert f"def {function}(" in (ROOT / file).read_text(encoding="utf-8"), part


def test_a_sample_counts_for_the_innermost_part() -> None:
    from profile_shares import shares_of

    decide = "decide (router/deciding/decider.py:90)"
    encode = f"main (x.py:1);{decide};features (policies/features.py:33)"
    shares = dict(shares_of(f"{encode} 3\nmain (x.py:1);{decide} 1\nmain (x.py:1) 9\n"))
    assert shares["rounding features to float16"] == 0.75
    assert shares["the rest"] == 0.25
