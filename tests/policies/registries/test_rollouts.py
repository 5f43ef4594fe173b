"""The part of the contract of every PolicyRegistry that is about rollouts."""

from concurrent.futures import ThreadPoolExecutor

import msgspec
import pytest
import redis

from policies.errors import (
    ActiveChangedError,
    AlreadyActiveError,
    RollbackError,
    RolloutChangedError,
    ShareError,
    UnknownPolicyError,
)
from policies.registries import PolicyRegistry
from policies.registries.redis_registry import RedisPolicyRegistry
from policies.rollout import WatchReport
from tests.policies.registries.test_policy_registries import _artifact
from tests.stores import wait_until


def _publish(registry: PolicyRegistry, *numbers: int) -> list[str]:
    artifacts = [_artifact(number) for number in numbers]
    for artifact in artifacts:
        registry.publish(artifact)
    return [artifact.version for artifact in artifacts]


def test_a_candidate_goes_from_shadow_to_canary_to_full(registry: PolicyRegistry) -> None:
    """Each step is a new generation; being made active ends its rollout as promoted."""
    incumbent, candidate = _publish(registry, 1, 2)
    registry.activate(incumbent)
    assert registry.rollout() is None
    shadow = registry.roll_out(candidate, by="ann", note="why")
    assert (shadow.stage, shadow.share, shadow.incumbent) == ("shadow", 0.0, incumbent)
    assert (shadow.by, shadow.note) == ("ann", "why")
    assert registry.rollout() == shadow
    canary = registry.roll_out(candidate, share=0.05)
    assert (canary.stage, canary.share) == ("canary", 0.05)
    assert canary.began >= shadow.began
    assert canary.key != shadow.key
    assert registry.generation() == 3
    assert registry.active() == registry.activations()[0]
    registry.activate(candidate, by="bob")
    assert registry.generation() == 4
    assert registry.rollout() is None
    [ended] = registry.past_rollouts()
    assert (ended.rollout, ended.outcome, ended.by) == (canary, "promoted", "bob")


def test_an_activation_in_place_of_something_changes_nothing_that_has_changed_meanwhile(
    registry: PolicyRegistry,
) -> None:
    """Whether another policy serves now, the rules do again, or a rollout was begun."""
    first, second, third = _publish(registry, 1, 2, 3)
    with pytest.raises(ActiveChangedError, match=f"in place of policy {first}"):
        registry.activate(second, in_place_of=first)
    assert registry.activate(first, in_place_of="").version == first
    with pytest.raises(ActiveChangedError, match="in place of the built-in rules"):
        registry.activate(second, in_place_of="")
    shadow = registry.roll_out(third)
    stood = registry.generation()
    with pytest.raises(ActiveChangedError, match="a rollout was begun meanwhile"):
        registry.activate(second, in_place_of=first)
    assert (registry.generation(), registry.rollout()) == (stood, shadow)
    registry.end_rollout(shadow)
    assert registry.activate(second, in_place_of=first).version == second
    assert [entry.version for entry in registry.activations()] == [first, second]
    with pytest.raises(UnknownPolicyError):
        registry.activate("0" * 16, in_place_of=second)


def test_another_share_is_the_same_canary(registry: PolicyRegistry) -> None:
    """Its evidence goes on: when it began stays, and the key that names it."""
    (candidate,) = _publish(registry, 1)
    first = registry.roll_out(candidate, share=0.05)
    second = registry.roll_out(candidate, share=0.2, by="ann")
    assert (second.share, second.began, second.key) == (0.2, first.began, first.key)
    assert registry.rollout() == second
    assert registry.past_rollouts() == []


def test_rolling_back_ends_the_rollout_first(registry: PolicyRegistry) -> None:
    """The active policy stays; the next rollback takes it back."""
    incumbent, candidate = _publish(registry, 1, 2)
    active = registry.activate(incumbent)
    canary = registry.roll_out(candidate, share=0.5)
    assert registry.rollback(by="ann", note="enough") == active
    assert registry.rollout() is None
    [ended] = registry.past_rollouts()
    assert (ended.rollout, ended.outcome) == (canary, "rolled_back")
    assert (ended.by, ended.note) == ("ann", "enough")
    assert registry.generation() == 3
    assert registry.rollback() is None
    registry.roll_out(candidate)
    assert registry.rollback() is None
    with pytest.raises(RollbackError):
        registry.rollback()


def test_another_candidate_or_incumbent_ends_a_rollout(registry: PolicyRegistry) -> None:
    """As replaced, the latest first."""
    one, two, three = _publish(registry, 1, 2, 3)
    registry.roll_out(one, share=0.1)
    registry.roll_out(two, share=0.1)
    registry.activate(three)
    assert registry.rollout() is None
    past = [(ended.rollout.version, ended.outcome) for ended in registry.past_rollouts()]
    assert past == [(two, "replaced"), (one, "replaced")]


def test_activating_the_active_policy_again_leaves_the_rollout(registry: PolicyRegistry) -> None:
    """Nothing has changed, so nothing ends."""
    incumbent, candidate = _publish(registry, 1, 2)
    registry.activate(incumbent)
    canary = registry.roll_out(candidate, share=0.1)
    registry.activate(incumbent)
    assert registry.rollout() == canary


@pytest.mark.parametrize("share", [-0.1, 1.0, 1.5, float("nan"), float("inf")])
def test_a_share_that_no_canary_can_have_is_refused(registry: PolicyRegistry, share: float) -> None:
    (candidate,) = _publish(registry, 1)
    with pytest.raises(ShareError, match="between 0 and 1") as refused:
        registry.roll_out(candidate, share=share)
    assert refused.value.field == "share"
    assert registry.rollout() is None


def test_only_a_stored_policy_that_isnt_active_can_be_a_candidate(registry: PolicyRegistry) -> None:
    """The unknown one is refused by name, the active one as active already."""
    (active,) = _publish(registry, 1)
    registry.activate(active)
    with pytest.raises(UnknownPolicyError, match=active):
        registry.roll_out("missing")
    with pytest.raises(AlreadyActiveError, match="active already"):
        registry.roll_out(active, share=0.1)
    assert registry.generation() == 1


def test_only_the_rollout_that_was_looked_at_is_ended(registry: PolicyRegistry) -> None:
    """With another share it is still that one; another stage, or none, is not."""
    (candidate,) = _publish(registry, 1)
    shadow = registry.roll_out(candidate)
    canary = registry.roll_out(candidate, share=0.1)
    with pytest.raises(RolloutChangedError):
        registry.end_rollout(shadow)
    wider = registry.roll_out(candidate, share=0.3)
    ended = registry.end_rollout(canary, by="watch", note="worse")
    assert (ended.rollout, ended.outcome, ended.note) == (wider, "rolled_back", "worse")
    assert registry.rollout() is None
    with pytest.raises(RolloutChangedError, match="has ended"):
        registry.end_rollout(canary)


def test_the_latest_twenty_rollouts_are_remembered(registry: PolicyRegistry) -> None:
    (candidate,) = _publish(registry, 1)
    for number in range(23):
        registry.end_rollout(registry.roll_out(candidate, note=str(number)))
    past = registry.past_rollouts()
    assert [ended.rollout.note for ended in past] == [str(n) for n in range(22, 2, -1)]


def test_one_process_keeps_the_watch_until_its_lease_expires(registry: PolicyRegistry) -> None:
    """Another may neither take it nor report meanwhile, and takes it over afterwards."""
    report = WatchReport(key="k", at=1.0, verdict="watching", metrics=[], state=b"\x00\xff")
    assert registry.watch_report() is None
    assert registry.hold_watch("one", 60.0)
    assert not registry.hold_watch("two", 60.0)
    assert not registry.report_watch(report, "two", 60.0)
    assert registry.report_watch(report, "one", 0.001)
    assert registry.watch_report() == report
    wait_until(lambda: registry.hold_watch("two", 60.0))
    late = msgspec.structs.replace(report, key="late")
    assert not registry.report_watch(late, "one", 60.0)
    assert registry.watch_report() == report


def test_the_audit_trail_names_who_rolled_out_what(store_url: str) -> None:
    """Every step with its share, and how it ended."""
    with redis.Redis.from_url(store_url) as client:
        registry = RedisPolicyRegistry(client)
        one, two = _publish(registry, 1, 2)
        registry.roll_out(one, by="ann")
        registry.roll_out(one, share=0.05, by="ann")
        registry.rollback(by="bob", note="enough")
        registry.roll_out(one, share=0.1)
        registry.activate(two, by="eve")
        audit = [fields for _, fields in client.xrange("{rag}:audit")][2:]
    what = [entry[b"what"].decode() for entry in audit]
    steps = ["shadow", "canary", "end-rollout", "canary", "activate", "end-rollout"]
    assert what == steps
    assert audit[1][b"share"] == b"0.05"
    assert (audit[2][b"outcome"], audit[2][b"by"]) == (b"rolled_back", b"bob")
    assert (audit[5][b"outcome"], audit[5][b"version"]) == (b"replaced", one.encode())


def test_rollouts_begun_at_once_leave_one_and_account_for_the_others(store_url: str) -> None:
    """Each that lost is among the past ones; generations count every change."""
    with redis.Redis.from_url(store_url) as client:
        versions = _publish(RedisPolicyRegistry(client), *range(1, 7))

        def begin(version: str) -> None:
            RedisPolicyRegistry(client).roll_out(version, share=0.1)

        with ThreadPoolExecutor(6) as threads:
            list(threads.map(begin, versions))
        registry = RedisPolicyRegistry(client)
        current = registry.rollout()
        assert current is not None
        ended = [past.rollout.version for past in registry.past_rollouts()]
        assert sorted([current.version, *ended]) == sorted(versions)
        assert registry.generation() == len(versions)
