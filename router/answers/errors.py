"""What can go wrong with an answer.

AnswerError
├── ArmFailedError               503  one arm can't answer; another one may
│   ├── BreakerOpenError         503  its model or retriever is left alone for now
│   └── NothingFoundError        503  its retriever found no passage
├── NoAnswerError                503  no eligible arm could answer; Retry-After says when to try
├── UnansweredError              503  the answer broke off, and nothing could continue it
└── NoModelsError                501  no arm has a model: this service only decides
"""

from router.errors import RouterError


class AnswerError(RouterError):
    """Base of the errors of answering."""

    status = 503
    kind = "no-answer"


class ArmFailedError(AnswerError):
    """One arm couldn't answer."""


class BreakerOpenError(ArmFailedError):
    """A backend that isn't called for now."""


class NothingFoundError(ArmFailedError):
    """A retrieval without a result."""


class NoAnswerError(AnswerError):
    """All eligible arms failed or are left alone."""

    def __init__(self, message: str, *, retry_after_s: int = 1) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class UnansweredError(AnswerError):
    """An answer that broke off after its first words."""

    kind = "answer-interrupted"


class NoModelsError(AnswerError):
    """The configuration has nothing to answer with."""

    status = 501
    kind = "no-models"
