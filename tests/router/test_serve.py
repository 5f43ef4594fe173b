"""`rag-router serve` as a process: the embedded store, restarts, workers, bad starts."""

import contextlib
import json
import re
import socket
import statistics
import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from router.serve import store_address
from router.settings import RedisSettings
from tests.faulty_backend import FaultyBackend
from tests.service_process import ServiceProcess
from tests.stores import StoreServer, wait_until


def test_decisions_and_feedback_survive_a_restart(tmp_path: Path) -> None:
    service = ServiceProcess(tmp_path / "data")
    with service:
        decision_id = service.route()["decision_id"]
        feedback = {"decision_id": decision_id, "metric": "quality", "value": 1}
        assert service.client.post("/v1/feedback", json=feedback).status_code == 202
        assert service.stop() == 0
        service.start()
        trace = service.trace(decision_id).json()
        assert trace["decision"]["decision_id"] == decision_id
        assert [given["value"] for given in trace["feedback"]] == [1.0]


def test_what_was_accepted_just_before_the_end_is_in_the_log(tmp_path: Path) -> None:
    service = ServiceProcess(tmp_path / "data")
    with service:
        requests = [{"query": f"Question {number}?"} for number in range(200)]
        response = service.client.post("/v1/route/batch", json={"requests": requests})
        ids = [decision["decision_id"] for decision in response.json()["decisions"]]
        service.stop()
        service.start()
        assert all(service.trace(decision_id).is_success for decision_id in ids)


def test_an_answer_under_way_has_as_long_to_end_as_the_grace_allows(tmp_path: Path) -> None:
    """A model that takes 2 s: with a grace of 1 s the caller is cut off, with 20 s answered."""
    with FaultyBackend("slow_first_token:2") as model:
        config = (
            f'[models.m]\nbase_url = "{model.url}"\nmodel = "m"\n'
            '[arms.finetuned]\nroute = "finetuned"\nmodel = "m"\n'
        )
        assert _answered_while_stopping(tmp_path / "short", "1", config) is None
        decision_id = _answered_while_stopping(tmp_path / "long", "20", config)
        assert decision_id is not None
        with ServiceProcess(tmp_path / "long", config=config) as service:
            assert service.trace(decision_id).json()["answer"]["executed_arm"] == "finetuned"


def _answered_while_stopping(data: Path, grace_s: str, config: str) -> str | None:
    """The decision of a question that was under way when the service was told to stop."""
    with ServiceProcess(data, "--grace", grace_s, config=config) as service:
        asked = f"{service.url}/v1/answer", {"query": "Who wrote Emma?"}
        with ThreadPoolExecutor(1) as caller:
            answer = caller.submit(httpx.post, asked[0], json=asked[1], timeout=30.0)
            wait_until(lambda: "rag_router_decisions_total{" in service.client.get("/metrics").text)
            assert service.stop() == 0
            try:
                response = answer.result()
            except httpx.TransportError:
                return None
        return response.json()["decision_id"] if response.is_success else None


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_stream_under_way_ends_in_full_while_the_service_stops(
    workers: str, tmp_path: Path
) -> None:
    """Told to stop after the first words of a model that takes 2 s for the rest."""
    chat = {
        "model": "auto",
        "messages": [{"role": "user", "content": "Who wrote Emma?"}],
        "stream": True,
    }
    with FaultyBackend("slow_tokens:0.3") as model:
        config = (
            f'[models.m]\nbase_url = "{model.url}"\nmodel = "m"\n'
            '[arms.finetuned]\nroute = "finetuned"\nmodel = "m"\n'
        )
        service = ServiceProcess(
            tmp_path / "data", "--grace", "20", "--workers", workers, config=config
        )
        with service, httpx.Client(base_url=service.url, timeout=30.0) as caller:
            with (
                caller.stream("POST", "/v1/chat/completions", json=chat) as response,
                ThreadPoolExecutor(1) as orchestrator,
            ):
                lines = (line for line in response.iter_lines() if line)
                said = _content(next(lines))
                while not said:
                    said += _content(next(lines))
                status = orchestrator.submit(service.stop)
                rest = list(lines)
                assert status.result() == 0
            assert said != model.reply
            assert said + "".join(map(_content, rest)) == model.reply
            assert rest[-1] == "data: [DONE]"
            service.start()
            trace = service.trace(response.headers["x-decision-id"]).json()
            assert trace["decision"]["arm"] == "finetuned"
            assert trace["answer"]["executed_arm"] == "finetuned"


def _content(line: str) -> str:
    """The words in one line of a stream of completions."""
    data = line.removeprefix("data: ")
    choices = [] if data == "[DONE]" else json.loads(data).get("choices", [])
    return "".join(choice["delta"].get("content") or "" for choice in choices)


def test_a_killed_service_starts_again_on_its_data(tmp_path: Path) -> None:
    service = ServiceProcess(tmp_path / "data")
    with service:
        decision_id = service.route()["decision_id"]
        assert service.trace(decision_id).is_success  # it has reached the store
        service.kill()
        service.start()
        assert service.trace(decision_id).is_success


def test_two_services_cannot_share_a_data_directory(tmp_path: Path) -> None:
    with ServiceProcess(tmp_path / "data"):
        command = [sys.executable, "-m", "router.cli", "serve", "--port", "0", "--data"]
        second = subprocess.run(
            [*command, str(tmp_path / "data")], capture_output=True, text=True, check=False
        )
        assert second.returncode == 2
        assert "another service" in second.stderr
        assert "Traceback" not in second.stderr


def test_workers_share_the_store_and_add_up_their_metrics(tmp_path: Path) -> None:
    with ServiceProcess(tmp_path / "data", "--workers", "2") as service:
        wait_until(lambda: service.log.count("Application startup complete") == 2)
        ids = []
        for number in range(40):
            service.client.headers["connection"] = "close"  # so that both workers get some
            ids.append(service.route(f"Question {number}?", arms=["hybrid"])["decision_id"])
        wait_until(lambda: all(service.trace(decision_id).is_success for decision_id in ids))
        metrics = service.client.get("/metrics").text
        line = 'rag_router_decisions_total{arm="hybrid",explored="false"} 40.0'
        assert line in metrics
        # Each worker tells its own log's counts, whichever is asked.
        wait_until(
            lambda: "rag_router_log_recorded_total 40.0" in service.client.get("/metrics").text
        )
        assert "rag_router_log_store_up 1.0" in service.client.get("/metrics").text
        replicas = service.client.get("/v1/policies").json()["replicas"]
        assert len({replica["replica"] for replica in replicas}) == 2


@pytest.mark.skipif(sys.platform != "linux", reason="connections are counted in /proc")
def test_workers_share_the_connections_of_clients_that_keep_them(tmp_path: Path) -> None:
    """Null: the kernel gives each of 64 to either worker alike; one has none: probability 1e-19."""
    with ServiceProcess(tmp_path / "data", "--workers", "2") as service:
        wait_until(lambda: service.log.count("Application startup complete") == 2)
        replicas = service.client.get("/v1/policies").json()["replicas"]
        workers = [int(replica["replica"].rpartition("-")[2]) for replica in replicas]
        before = [open_files(pid) for pid in workers]
        host, port = service.client.base_url.host, service.client.base_url.port or 0
        with contextlib.ExitStack() as stack:
            for _ in range(64):
                stack.enter_context(socket.create_connection((host, port)))
            wait_until(
                lambda: all(open_files(pid) > b for pid, b in zip(workers, before, strict=True))
            )


def open_files(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def test_decisions_go_on_while_the_store_is_away_and_reach_it_later(
    tmp_path: Path, valkey_server: StoreServer
) -> None:
    config = f'[redis]\nurl = "{valkey_server.url}"\n'
    with ServiceProcess(tmp_path / "data", config=config) as service:
        valkey_server.kill()
        ids = [service.route(f"Question {number}?")["decision_id"] for number in range(50)]
        feedback = {"decision_id": ids[0], "metric": "quality", "value": 1}
        response = service.client.post("/v1/feedback", json=feedback)
        assert (response.status_code, response.json()["durable_in"]) == (202, "spooled")
        refused = service.trace(ids[0])
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "2")
        assert service.client.get("/v1/policies").status_code == 503
        assert service.client.get("/health/ready").json()["status"] == "degraded"
        valkey_server.start()
        wait_until(lambda: service.trace(ids[-1]).is_success)
        traces = [service.trace(decision_id).json() for decision_id in ids]
        assert all(trace["decision"] for trace in traces)
        assert len(traces[0]["feedback"]) == 1


def test_a_service_starts_without_its_store_and_catches_up(
    tmp_path: Path, valkey_server: StoreServer
) -> None:
    valkey_server.kill()
    config = f'[redis]\nurl = "{valkey_server.url}"\n'
    with ServiceProcess(tmp_path / "data", config=config) as service:
        decision = service.route()
        assert "can't be reached" in str(decision["fallback"])
        valkey_server.start()
        wait_until(lambda: service.route()["fallback"] is None)
        wait_until(lambda: service.trace(decision["decision_id"]).is_success)


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize(
    ("config", "status", "message"),
    [
        ('[arms.a]\nroute = "finetund"', 2, "arms.a.route"),
        ("[", 2, "TOML"),
        ('encoder = "minilm"', 2, "encoder"),
        ('encoder = "static:/nowhere"', 2, "encoder"),
        ('[redis]\nurl = "redis://localhost:99999999"', 2, "port"),
        ('[redis]\nurl = "redis://localhost/0?password=hunter2"', 2, "options"),
        ('[redis]\nurl = "redis://localhost/abc"', 2, "database"),
        ('[auth]\napi_keys_env = "NO_SUCH_VARIABLE"', 2, "NO_SUCH_VARIABLE"),
        ('[redis]\nurl = "http://nowhere"', 2, "redis.url"),
        ('[redis]\nurl = "redis://:hunter2@localhost"', 2, "redis.password_env"),
        ('[redis]\nurl = "redis://localhost"\npassword_env = "NO_SUCH"', 2, "NO_SUCH"),
    ],
)
def test_a_bad_start_says_what_is_wrong(
    tmp_path: Path, config: str, status: int, message: str, workers: int
) -> None:
    path = tmp_path / "router.toml"
    path.write_text(config)
    command = [sys.executable, "-m", "router.cli", "serve", "--port", "0", "--config", str(path)]
    command += ["--workers", str(workers)]
    finished = subprocess.run(
        [*command, "--data", str(tmp_path / "data")], capture_output=True, text=True, check=False
    )
    assert message in finished.stderr
    assert finished.returncode == status
    assert "Traceback" not in finished.stderr
    assert "hunter2" not in finished.stderr


@pytest.mark.parametrize("workers", [1, 2])
def test_a_port_that_is_taken_is_named_with_the_cure(tmp_path: Path, workers: int) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        command = [sys.executable, "-m", "router.cli", "serve", "--workers", str(workers)]
        finished = subprocess.run(
            [*command, "--port", str(port), "--data", str(tmp_path / "data")],
            capture_output=True,
            text=True,
            check=False,
        )
    assert finished.returncode == 1
    assert f"can't listen on 127.0.0.1 port {port}: choose another with --port" in finished.stderr
    assert "Traceback" not in finished.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere workers share one socket")
def test_workers_that_cannot_listen_end_the_service_with_status_1(tmp_path: Path) -> None:
    """Somebody takes the port between the service's claim and its workers' start."""
    command = [sys.executable, "-m", "router.cli", "serve", "--workers", "2", "--port", "0"]
    with subprocess.Popen(
        [*command, "--data", str(tmp_path / "data")], stderr=subprocess.PIPE, text=True
    ) as service:
        assert service.stderr is not None
        said = iter(service.stderr)
        port = next(int(found[1]) for line in said if (found := re.search(r":(\d+) \(", line)))
        with socket.socket() as other:
            other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            other.bind(("127.0.0.1", port))
            other.listen()
            rest = "".join(said)
    assert service.returncode == 1
    assert f"a worker can't listen on 127.0.0.1 port {port}" in rest
    assert "Traceback" not in rest


def test_the_stores_password_comes_from_the_environment() -> None:
    settings = RedisSettings(url="redis://bob@cache:6379/2", password_env="SECRET")
    address = store_address(settings, {"SECRET": "p@ss/word"})
    assert address.url == "redis://bob:p%40ss%2Fword@cache:6379/2"
    local = RedisSettings(url="unix:///run/store.sock", password_env="SECRET")
    assert store_address(local, {"SECRET": "x"}).url == "unix://:x@/run/store.sock"
    watched = RedisSettings(
        url="redis+sentinel://bob@a,b/main", password_env="SECRET", sentinel_password_env="WATCH"
    )
    address = store_address(watched, {"SECRET": "p@ss/word", "WATCH": "tower"})
    assert (address.username, address.password) == ("bob", "p@ss/word")
    assert address.sentinel_password == "tower"


def test_keep_alive_requests_do_not_wait_for_delayed_acknowledgements(tmp_path: Path) -> None:
    """With Nagle's algorithm on, each takes the peer's 40 ms; without, about one."""
    with ServiceProcess(tmp_path / "data") as service:
        taken = []
        for _ in range(50):
            began = time.perf_counter()
            service.route()
            taken.append(time.perf_counter() - began)
        assert statistics.median(taken) < 0.03


def test_a_body_that_trickles_is_cut_off_with_a_problem(tmp_path: Path) -> None:
    with ServiceProcess(tmp_path / "data") as service:
        host, port = service.client.base_url.host, service.client.base_url.port
        with socket.create_connection((host, port or 0), timeout=20) as connection:
            head = "POST /v1/route HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{"
            connection.sendall(head.encode())
            answer = connection.recv(4096).decode()
        assert " 408 " in answer.splitlines()[0]
        assert "problem+json" in answer


def test_drawn_arms_follow_the_logged_probabilities_over_http(tmp_path: Path) -> None:
    """Null: each draw follows its propensities. Per arm |z| > 4.5 has probability 7e-6; the ids,
    and with them the draws, differ from run to run.
    """
    with ServiceProcess(tmp_path / "data") as service:
        drawn, expected, variance = Counter[str](), Counter[str](), Counter[str]()
        for batch in range(16):
            requests = [{"query": f"Is {batch} the latest of {n}?"} for n in range(250)]
            body = service.client.post("/v1/route/batch", json={"requests": requests}).json()
            for decision in body["decisions"]:
                drawn[decision["arm"]] += 1
                for arm in decision["arms"]:
                    p = arm["probability"]
                    expected[arm["arm"]] += p
                    variance[arm["arm"]] += p * (1 - p)
        for arm, count in expected.items():
            assert abs(drawn[arm] - count) / variance[arm] ** 0.5 < 4.5


def test_without_text_nothing_of_a_query_is_left_anywhere(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with ServiceProcess(data, config='[log]\ntext = "none"\n') as service:
        secret = "Xyzzyplugh"
        decision_id = service.route(f"What about {secret}?")["decision_id"]
        feedback = {"decision_id": decision_id, "metric": "quality", "value": 1}
        feedback |= {"comment": secret, "demonstration": secret}
        assert service.client.post("/v1/feedback", json=feedback).is_success
        service.client.post("/v1/route", content=f'{{"query": "{secret}", "x": 1}}')
        service.client.post("/v1/route", json={"query": secret, "arms": ["nope"]})
        assert secret not in service.trace(decision_id).text
        assert secret not in service.client.get("/metrics").text
        service.stop()
        assert secret not in service.log
        held = b"".join(path.read_bytes() for path in data.rglob("*") if path.is_file())
        assert decision_id.encode() in held  # type: ignore[attr-defined]
        assert secret.encode() not in held


def test_a_taken_port_says_so(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        command = [sys.executable, "-m", "router.cli", "serve", "--port", port, "--data"]
        finished = subprocess.run(
            [*command, str(tmp_path / "data")], capture_output=True, text=True, check=False
        )
    assert finished.returncode == 1
    assert "in use" in finished.stderr
    assert "Traceback" not in finished.stderr


def test_the_service_imports_neither_torch_nor_scikit_learn() -> None:
    code = (
        "import sys, router.app, router.serve; print([m for m in "
        "('torch', 'sklearn', 'sentence_transformers', 'pyarrow') if m in sys.modules])"
    )
    finished = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert finished.stdout.strip() == "[]"
