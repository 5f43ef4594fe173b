"""`rag-policy report` on logs with a known story: tenants, fallbacks, silence, drift."""

import html.parser
import json
import re
from pathlib import Path

import msgspec
import numpy as np
import pytest

from policies.artifact import write_artifact
from policies.choose import choose
from tests.event_factory import NOON, answer, decision, feedback
from tests.training.test_cli import rag_policy, ran, refused
from tests.training.worlds import knowing, outcome_rows, write_rows
from training.log.log_files import answers_table, decisions_table, feedback_table, write_part

ARMS = ("finetuned", "retrieve", "hybrid")
SECRET = "what does clause seven of the contract say"
DAY = 86_400.0
ROUNDS = 1_600


@pytest.fixture(scope="module")
def logs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four days; hybrid is best; tenant "quiet & co" gives little feedback; hybrid falls back at
    times; draws of the last two days ignore hybrid's probability.
    """
    rng = np.random.default_rng(0)
    directory = tmp_path_factory.mktemp("report-logs")
    decisions, answers, values = [], [], []
    p = np.array([0.4, 0.3, 0.3])
    for number in range(ROUNDS):
        at = NOON + number * 4 * DAY / ROUNDS
        name = f"decision-{number:06d}"
        drawn = choose(p, name)
        if number > ROUNDS / 2 and drawn == 2:
            drawn = 0
        quiet = number % 3 == 0
        decisions.append(
            msgspec.structs.replace(
                decision(number, at=at),
                eligible=list(ARMS),
                probabilities=p.tolist(),
                arm=ARMS[drawn],
                propensity=float(p[drawn]),
                weights={"quality": 1.0, "cost_usd": -20.0},
                expected={},
                tenant="quiet & co" if quiet else "<loud>",
                query=SECRET,
                query_hash=f"{number:016x}",
                features=rng.normal(size=32).astype("<f2").tobytes(),
                out_of_distribution=number % 400 == 1,
                candidate="",
                candidate_probabilities=[],
                candidate_share=0.0,
            )
        )
        executed = "finetuned" if drawn == 2 and number % 10 == 0 else ARMS[drawn]
        answers.append(
            msgspec.structs.replace(
                answer(number, at=at),
                executed_arm=executed,
                metrics={"cost_usd": 0.001 * (1 + drawn), "latency_s": 0.5},
            )
        )
        if not quiet or rng.random() < 0.2:
            good = float(rng.random() < (0.3, 0.5, 0.7)[drawn])
            values.append(feedback(number, at=at, value=good))
    write_part(decisions_table(decisions), directory, "decisions", "made")
    write_part(answers_table(answers), directory, "answers", "made")
    write_part(feedback_table(values), directory, "feedback", "made")
    return directory


def test_the_report_says_what_each_arm_is_worth(logs: Path) -> None:
    report = ran("report", "--logs", logs)
    values = {worth["name"]: worth["values"] for worth in report["arms"]}
    for arm, truth in zip(ARMS, (0.3, 0.5, 0.7), strict=True):
        quality = values[arm]["quality"]
        assert abs(quality["value"] - truth) < 4 * quality["standard_error"]
    assert values["hybrid"]["cost_usd"]["value"] == pytest.approx(0.003, abs=3e-4)
    assert set(report["incumbent"]) == {"(objective)", "quality", "cost_usd", "latency_s"}
    assert report["routes"] == []


def test_days_tenants_fallbacks_and_silence_are_counted(logs: Path) -> None:
    report = ran("report", "--logs", logs)
    assert report["total"]["decisions"] == ROUNDS
    assert report["total"]["out_of_distribution"] == 4
    assert [day["tally"]["name"] for day in report["days"]] == [
        f"2026-11-{day}" for day in range(22, 27)
    ]
    assert all(sum(day["routes"].values()) == pytest.approx(1.0) for day in report["days"])
    assert sum(day["tally"]["decisions"] for day in report["days"]) == ROUNDS
    tenants = {tally["name"]: tally for tally in report["by_tenant"]}
    assert tenants["<loud>"]["feedback"] == 1.0
    assert tenants["quiet & co"]["feedback"] < 0.3
    assert tenants["quiet & co"]["reported"]["cost_usd"] == 1.0
    arms = {tally["name"]: tally for tally in report["by_arm"]}
    assert arms["hybrid"]["fallbacks"] > 0
    assert arms["finetuned"]["fallbacks"] == 0


def test_drift_of_the_draws_is_found_with_its_time(logs: Path) -> None:
    report = ran("report", "--logs", logs, "--false-alarms", 0.001)
    [all_draws, *_] = [t for t in report["drift"] if t["kind"] == "draws against propensities"]
    assert all_draws["alarm"] is True
    assert all_draws["since"] > NOON + 2 * DAY
    assert all_draws["false_alarm_rate"] == 0.001
    assert "hybrid is drawn less often than logged" in all_draws["finding"]
    shown = rag_policy("report", "--logs", logs)
    assert "hybrid is drawn less often than logged" in shown.stdout
    assert "by 1 policy;" in " ".join(shown.stdout.split())


class Tags(html.parser.HTMLParser):
    """Every tag of a page, with its attributes."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))


def test_the_page_needs_nothing_else_and_escapes_names(logs: Path, tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    report = ran("report", "--logs", logs, "--html", page)
    text = page.read_text(encoding="utf-8")
    tags = Tags()
    tags.feed(text)
    assert not {"script", "link", "iframe", "img"} & {tag for tag, _ in tags.seen}
    assert not any({"src", "href"} & attributes.keys() for _, attributes in tags.seen)
    assert "url(" not in text
    assert "&lt;loud&gt;" in text
    assert "<loud>" not in text
    assert "quiet &amp; co" in text
    assert text.count("<div class=bar>") == len(report["days"])


def test_no_query_text_is_in_any_form_of_it(logs: Path, tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    shown = rag_policy("report", "--logs", logs, "--html", page)
    as_json = rag_policy("report", "--logs", logs, "--json")
    for text in (shown.stdout, as_json.stdout, page.read_text()):
        assert not re.search("clause|contract", text)


def test_arms_that_share_a_route_are_also_shown_together(tmp_path: Path) -> None:
    table, config = tmp_path / "table.jsonl", tmp_path / "router.toml"
    write_rows(table, outcome_rows(400, 0))
    ran("replay", "--outcomes", table, "--n", 600, "--to", tmp_path / "logs")
    config.write_text(
        '[arms.none]\nroute = "finetuned"\n[arms.single]\nroute = "retrieve"\n'
        '[arms.multi]\nroute = "retrieve"\n'
    )
    report = ran("report", "--logs", tmp_path / "logs", "--config", config)
    assert {worth["name"] for worth in report["routes"]} == {"finetuned", "retrieve"}
    day = report["days"][0]
    assert day["routes"]["retrieve"] == pytest.approx(day["arms"]["single"] + day["arms"]["multi"])


def test_a_candidate_is_judged_and_its_training_rows_compared(logs: Path, tmp_path: Path) -> None:
    policy = tmp_path / "policy"
    ran("train", "--logs", logs, "--holdout", 0.4, "--to", policy)
    report = ran("report", "--logs", logs, "--policy", policy)
    assert (
        report["candidate"]["policy"]
        == json.loads((policy / "manifest.json").read_text())["version"]
    )
    [queries] = [t for t in report["drift"] if t["kind"] == "queries against training rows"]
    assert queries["rows"] == 640
    assert queries["alarm"] is False
    assert "the gate would" in rag_policy("report", "--logs", logs, "--policy", policy).stdout


def test_wrong_use_is_said_in_one_line(logs: Path, tmp_path: Path) -> None:
    refused(rag_policy("report", "--logs", tmp_path / "nowhere"), "nowhere")
    refused(rag_policy("report", "--logs", logs, "--objective", '{"qualty": 1}'), "no metric")
    refused(rag_policy("report", "--logs", logs, "--policy", tmp_path), "no policy")


def test_a_candidate_with_other_features_is_refused(logs: Path, tmp_path: Path) -> None:
    write_artifact(knowing().artifact(), tmp_path / "policy")
    result = rag_policy("report", "--logs", logs, "--policy", tmp_path / "policy")
    assert result.exit_code == 2
    assert "Traceback" not in result.stderr
