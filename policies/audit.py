"""Which decisions are audited: a random share, whose outcome is asked for whatever happens.

People report what they feel like reporting; an audit's outcome is asked of everyone, so it tells
whether volunteered feedback is representative.
"""

from hashlib import blake2b


def is_audited(decision_id: str, share: float) -> bool:
    """Whether the decision is among this share of all.

    The id alone fixes it, by another hash than that of the arm's draw, so audits are independent of
    the query, the arm and its outcome.
    """
    if share == 0.0:
        return False
    digest = blake2b(decision_id.encode(), digest_size=8, person=b"audit").digest()
    return (int.from_bytes(digest, "big") >> 11) / 2**53 < share
