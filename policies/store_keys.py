"""Where in the shared store everything lies: the service writes there, the command line reads.

Keys that a script touches together carry one hash tag, so that a Redis Cluster keeps them in one
slot: all of a project's, but for what its log has in further shards (`policies.shards`).
"""

from typing import Literal, get_args

DEFAULT_PREFIX = "rag"

# The one field of a stream entry: the event as `policies.events.encode_event` gives it.
EVENT_FIELD = "e"

# Scheduled commands that note in the store when they last succeeded.
Run = Literal["export", "training"]
RUNS: tuple[Run, ...] = get_args(Run)


class ShardKeys:
    """The names of one shard's keys: two streams of events, and what finds them by decision."""

    def __init__(self, tag: str) -> None:
        """Name the keys; the tag, braces included, makes them one slot's."""
        self.tag = tag
        self.decisions = f"{tag}:decisions"
        """The stream of DecisionMade and AnswerFinished."""
        self.feedback = f"{tag}:feedback"
        """The stream of FeedbackGiven."""
        self.writable = f"{tag}:writable"
        """What is written now and then to see whether writes are taken; it expires."""

    def trace(self, decision_id: str) -> str:
        """The hash of a decision's events: what makes each unique → its stream entry's id."""
        return f"{self.tag}:trace:{decision_id}"

    def remembered(self, key: str) -> str:
        """The fingerprint of the request that used an idempotency key."""
        return f"{self.tag}:remembered:{key}"


class StoreKeys(ShardKeys):
    """The names of one project's keys, the log's first shard among them; another prefix is another
    project.
    """

    def __init__(self, prefix: str = DEFAULT_PREFIX) -> None:
        """Name the keys; the prefix is put in braces, which make it the hash tag."""
        self.prefix = "{" + prefix.strip("{}") + "}"
        super().__init__(self.prefix)
        self.log_id = f"{self.prefix}:log"
        """A random name of this log, so that an export knows whose events it holds."""
        self.shards = f"{self.prefix}:shards"
        """Which shards the log has had since when; without it there is this one."""
        self.last_runs = f"{self.prefix}:last-runs"
        """The hash of when a scheduled command last succeeded: `Run` → seconds since the epoch."""
        self.policies = f"{self.prefix}:policies"
        """The set of published versions."""
        self.activations = f"{self.prefix}:activations"
        """The list of activations, the active one last."""
        self.generation = f"{self.prefix}:generation"
        """How often the active policy has changed."""
        self.audit = f"{self.prefix}:audit"
        """The stream of who published, activated and rolled back what."""
        self.rollout = f"{self.prefix}:rollout"
        """The candidate in shadow or canary."""
        self.past_rollouts = f"{self.prefix}:rollouts"
        """The list of rollouts that have ended, the latest first."""
        self.watch = f"{self.prefix}:rollout:watch"
        """What the watch has found of the rollout."""
        self.watch_lease = f"{self.prefix}:rollout:lease"
        """Which process keeps the watch; it expires."""
        self.replicas = f"{self.prefix}:replicas"
        """The set of replicas that have reported; those whose report expired are dropped."""

    def policy(self, version: str) -> str:
        """The hash of a policy's files."""
        return f"{self.prefix}:policy:{version}"

    def replica(self, name: str) -> str:
        """What a replica last said of itself."""
        return f"{self.prefix}:replica:{name}"

    def looks(self, incumbent: str) -> str:
        """The hash of the gate's looks at an incumbent: what was judged → its number."""
        return f"{self.prefix}:looks:{incumbent}"
