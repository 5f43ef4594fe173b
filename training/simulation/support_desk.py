"""A simulated support desk: eight topics, for each of which the best of the default arms is known.

The service sees only the query's words and the drawn arm's outcome. The cold-start rules get some
topics right and others wrong, as rules do, so there is something to learn.
"""

from typing import NamedTuple

import numpy as np

from training.simulation import Traffic

ARMS = ("finetuned", "retrieve", "hybrid")
METRICS = ("quality", "cost_usd", "latency_s")

# Mean US dollars and seconds of an answer, by arm; both vary by a log-normal factor.
_COST_USD = (0.0004, 0.0015, 0.0020)
_LATENCY_S = (0.8, 1.6, 2.0)
_SPREAD = 0.3


class Topic(NamedTuple):
    """How its queries read, and how often each arm answers them well."""

    templates: tuple[str, ...]
    quality: tuple[float, float, float]


# fmt: off
_SLOTS: dict[str, tuple[str, ...]] = {
    "product": ("the gateway", "the mobile app", "the billing portal", "the sync client", "the API",
                "the admin console", "the data connector", "the desktop agent"),
    "feature": ("single sign-on", "audit logs", "bulk import", "webhooks", "two-factor login",
                "usage alerts", "custom fields", "role templates", "offline mode", "rate limits"),
    "person": ("a frustrated customer", "a new partner", "an enterprise buyer", "a trial user",
               "a long-standing client", "a journalist", "a reseller"),
    "problem": ("a delayed shipment", "a double charge", "a broken login", "a lost export",
                "a slow dashboard", "a missing invoice", "a failed upgrade"),
    "matter": ("parental leave", "travel expenses", "data retention", "remote work",
               "hardware loans", "security incidents", "supplier onboarding", "customer refunds"),
    "company": ("Northwind", "Contoso", "Initech", "Globex", "Umbrella", "Hooli", "Vandelay"),
    "name": ("Amara Okafor", "Lars Lindqvist", "Mei Tanaka", "Rafael Ortiz", "Ingrid Haugen",
             "Tomasz Nowak", "Leila Haddad"),
    "code": ("E1042", "E2210", "W317", "SYNC-88", "AUTH-503", "Q-19", "DB-7001", "NET-24"),
    "number": tuple(str(n) for n in range(12, 97, 7)),
    "year": ("2011", "2014", "2017", "2019", "2022"),
}

TOPICS: tuple[Topic, ...] = (
    Topic(("Draft a friendly reply to {person} about {problem}",
           "Rewrite this note to {person} in our house tone: we are looking into {problem}",
           "Write a short apology for {problem} to {person}"), (0.86, 0.50, 0.78)),
    Topic(("What is the current status of {feature} in {product}?",
           "Is {feature} in {product} affected by today's outage?",
           "Which version of {product} is the latest to support {feature}?"), (0.20, 0.82, 0.74)),
    Topic(("Does our policy on {matter} apply to contractors?",
           "What does the handbook say about {matter} for part-time staff?",
           "Who has to approve exceptions for {matter}?"), (0.38, 0.60, 0.86)),
    Topic(("Classify this ticket: {product} shows {problem} after enabling {feature}",
           "Which team should handle {problem} in {product}?",
           "Set a priority for a ticket about {problem} from {person}"), (0.88, 0.52, 0.80)),
    Topic(("A plan costs {number} dollars a seat; how much is it for {number} seats?",
           "What is {number} percent of {number}?",
           "Calculate the refund for {number} of {number} days"), (0.82, 0.60, 0.66)),
    Topic(("When did {name} join {company} as head of support?",
           "Which contract did {company} sign with {name} in {year}?",
           "Where did {name} work before {company}?"), (0.22, 0.84, 0.70)),
    Topic(("What does error {code} mean in {product}?",
           "How do I clear {code} on {product}?",
           "Why does {product} report {code} when {feature} is on?"), (0.84, 0.48, 0.72)),
    Topic(("Summarize what changed for {feature} since {year}, with sources",
           "Compare {feature} in {product} with what {company} offers",
           "Write a one-paragraph brief on {company}'s use of {feature} that cites its documents"),
          (0.30, 0.62, 0.84)),
)
# fmt: on


class SupportDesk:
    """Draws a topic, a template and its words; quality is 0 or 1 with the topic's probability."""

    def traffic(self, n: int, rng: np.random.Generator) -> Traffic:
        """n queries over the default arms; the best policy takes each topic's best arm."""
        topics = rng.integers(len(TOPICS), size=n)
        queries = [_query(TOPICS[topic], rng) for topic in topics]
        means = np.empty((n, len(ARMS), len(METRICS)))
        means[:, :, 0] = np.array([topic.quality for topic in TOPICS])[topics]
        means[:, :, 1], means[:, :, 2] = _COST_USD, _LATENCY_S
        outcomes = means.copy()
        outcomes[:, :, 0] = rng.random((n, len(ARMS))) < means[:, :, 0]
        # exp(N(−σ²/2, σ)) has mean 1
        noise = rng.lognormal(-(_SPREAD**2) / 2, _SPREAD, size=(n, len(ARMS), 2))
        outcomes[:, :, 1:] *= noise
        return Traffic(queries, ARMS, METRICS, outcomes, means)


def _query(topic: Topic, rng: np.random.Generator) -> str:
    query = topic.templates[rng.integers(len(topic.templates))]
    for slot, words in _SLOTS.items():
        while f"{{{slot}}}" in query:
            query = query.replace(f"{{{slot}}}", words[rng.integers(len(words))], 1)
    return query[0].upper() + query[1:]
