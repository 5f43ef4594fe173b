"""The budgets of one process: a tracker each, by the name that requests give as their objective."""

from collections.abc import Mapping

from policies.events import DecisionMade
from policies.exploration import Exploration
from policies.settings import PolicySettings
from router.deciding.budget_tracker import BudgetState, BudgetTracker


class Budgets:
    """All configured budgets; a decision belongs to the one that its objective names, if any."""

    def __init__(self, settings: PolicySettings) -> None:
        objectives = settings.plain_objectives()
        self._trackers = {
            name: BudgetTracker(name, budget, objectives[budget.objective])
            for name, budget in settings.budgets.items()
        }

    def weights(self, name: str) -> dict[str, float] | None:
        """The weights that a budget's next request is served with; None for a plain objective."""
        tracker = self._trackers.get(name)
        return None if tracker is None else tracker.weights()

    def note(self, name: str) -> str | None:
        """What a caller should know of the budget it named, if that can't be held."""
        tracker = self._trackers.get(name)
        return None if tracker is None else tracker.note()

    def __contains__(self, name: str) -> bool:
        """Whether an objective of this name is a budget."""
        return name in self._trackers

    def decided(self, event: DecisionMade, exploration: Exploration) -> None:
        """Book a decision with its budget, if it has one."""
        tracker = self._trackers.get(event.objective)
        if tracker is not None:
            tracker.decided(event, exploration)

    def measured(self, decision_id: str, metrics: Mapping[str, float]) -> None:
        """Tell the budgets what a decision has really cost."""
        for tracker in self._trackers.values():
            tracker.measured(decision_id, metrics)

    def states(self) -> dict[str, BudgetState]:
        """Where each budget stands."""
        return {name: tracker.state() for name, tracker in self._trackers.items()}
