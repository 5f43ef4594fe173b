"""What can go wrong in the policy-training command line.

TrainingError      2  base: the message says what is wrong and what to do about it
├── InputError     2  a file, a line or a field that can't be used; the message names it
├── EmptyLogError  2  a log or a table without a row to learn from or to judge by
└── FailedOutcome  1  the command ran, and its answer is no (a gate that refuses, for example)

`training.exits` turns these, and the ground floor's PolicyError, into one line and an exit status.
"""

from typing import ClassVar


class TrainingError(Exception):
    """Base of every error raised on purpose here; `exit_status` is the command's."""

    exit_status: ClassVar[int] = 2


class InputError(TrainingError):
    """Input that can't be used: where it stands, what is wrong, and the cure.

    `path` is a file or folder, as its text names it.
    """

    def __init__(
        self, message: str, *, path: object = None, line: int | None = None, field: str = ""
    ) -> None:
        place = ":".join(str(part) for part in (path, line, field) if part not in (None, ""))
        super().__init__(f"{place}: {message}" if place else message)
        self.path, self.line, self.field = path, line, field


class EmptyLogError(TrainingError):
    """Nothing to learn from, or to judge by."""


class FailedOutcome(TrainingError):  # noqa: N818 - an answer of no, not a fault
    """The command did its work and the answer is no."""

    exit_status: ClassVar[int] = 1
