"""The local engine: in order, one part at a time."""

from training.engines.local import LocalEngine


def test_results_come_in_the_order_of_the_parts() -> None:
    assert list(LocalEngine().map(abs, [-3, 1, -2])) == [3, 1, 2]


def test_a_part_is_read_when_its_turn_comes() -> None:
    read: list[int] = []

    def step(part: int) -> int:
        read.append(part)
        return part

    results = LocalEngine().map(step, [1, 2])
    assert next(results) == 1
    assert read == [1]
