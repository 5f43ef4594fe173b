"""deploy/compose.yaml on a real container engine: the loop, faults, restarts, limits.

To be installed, as root on Debian or Ubuntu:
    apt-get install --no-install-recommends docker.io iptables iproute2 mmdebstrap
    pip install -e ".[dev,deploy]"
The tests start an engine of their own and use one deployment in turns; each leaves it whole.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.deploy.deployment import HOME, REPLICAS, SECRETS, SERVICES, Deployment
from tests.deploy.load import Load
from tests.stores import wait_until

pytestmark = [pytest.mark.containers, pytest.mark.timeout(1500)]


def test_both_replicas_answer_behind_the_balancer(deployment: Deployment) -> None:
    asked = [deployment.client.post("/v1/route", json={"query": "Who?"}) for _ in range(8)]
    assert {response.status_code for response in asked} == {200}
    policies = deployment.client.get("/v1/policies").json()
    assert len({replica["replica"] for replica in policies["replicas"]}) == len(REPLICAS)


def test_nobody_decides_without_a_key(deployment: Deployment) -> None:
    anonymous = httpx.post(f"{deployment.client.base_url}/v1/route", json={"query": "Who?"})
    assert anonymous.status_code == 401


def test_the_balancer_keeps_metrics_inside(deployment: Deployment) -> None:
    assert deployment.client.get("/metrics").status_code == 404


@pytest.mark.parametrize("service", SERVICES)
def test_containers_are_hardened(deployment: Deployment, service: str) -> None:
    found = deployment.inspect(service)
    host = found["HostConfig"]
    assert host["ReadonlyRootfs"]
    assert host["CapDrop"] == ["ALL"]
    assert not host["CapAdd"]
    assert host["SecurityOpt"] == ["no-new-privileges:true"]
    assert not host["Privileged"]
    assert 0 < host["PidsLimit"] <= 200
    assert 0 < host["Memory"] == host["MemorySwap"]
    assert found["Config"]["User"].split(":")[0] not in ("", "0", "root")
    assert not any("docker.sock" in mount["Source"] for mount in found["Mounts"])
    bound = [place["HostIp"] for places in host["PortBindings"].values() for place in places]
    assert set(bound) <= {"127.0.0.1"}


@pytest.mark.parametrize("service", ["router-1", "trainer"])
def test_a_process_has_no_rights_and_no_place_to_write_but_its_own(
    deployment: Deployment, service: str
) -> None:
    script = (
        "import json, os, pathlib\n"
        "status = dict(l.split(':\\t', 1) for l in open('/proc/self/status') if ':\\t' in l)\n"
        "def writable(folder):\n"
        "    try:\n"
        "        (pathlib.Path(folder) / 'probe').write_text('x')\n"
        "        (pathlib.Path(folder) / 'probe').unlink()\n"
        "        return True\n"
        "    except OSError:\n"
        "        return False\n"
        "print(json.dumps([os.getuid(), status['CapBnd'].strip(), status['NoNewPrivs'].strip(),"
        " status['Seccomp'].strip(), [f for f in ('/', '/etc', '/opt/rag-router', '/usr/lib',"
        f" '/tmp', '{HOME}') if writable(f)]]))"
    )
    uid, capabilities, no_new, seccomp, writable = json.loads(
        deployment.compose("exec", "-T", service, "python", "-c", script)
    )
    assert (uid, int(capabilities, 16), no_new, seccomp) == (10001, 0, "1", "2")
    assert writable == ["/tmp", str(HOME)]


def test_prometheus_scrapes_every_replica(deployment: Deployment) -> None:
    url = f"http://127.0.0.1:{deployment.prometheus_port}/api/v1/targets?state=active"

    def healthy() -> list[Any]:
        targets = httpx.get(url).json()["data"]["activeTargets"]
        return [
            target
            for target in targets
            if target["labels"]["job"] == "router" and target["health"] == "up"
        ]

    wait_until(lambda: len(healthy()) == len(REPLICAS), timeout_s=60.0)


def test_the_loop_closes_through_the_balancer(deployment: Deployment) -> None:
    """Decide, report, export, train in the trainer's container, promote: both replicas serve it."""
    before = _simulate(deployment, decisions=12_000, seed=2)
    wait_until(
        lambda: len(deployment.exported("feedback", "feedback_id")) >= before["feedback"],
        timeout_s=60.0,
    )
    promoted = deployment.train(
        *("retrain", "--logs", f"{HOME}/logs", "--reports", f"{HOME}/reports"),
        *("--store", "redis://store:6379/0", "--password-env", "STORE_PASSWORD"),
    )
    assert promoted["outcome"] == "promoted", promoted["reason"]
    assert len(promoted["replicas"]) == len(REPLICAS)
    for replica in REPLICAS:
        assert deployment.in_replica(replica, "/health/ready")["policy"] == promoted["policy"]
    after = _simulate(deployment, decisions=2000, seed=2)
    (served,) = after["policies"]
    assert served.endswith(promoted["policy"])
    assert after["served"] > before["best_fixed"]
    reports = deployment.folder("training") / "reports"
    assert Path(promoted["report"]).name in {report.name for report in reports.iterdir()}


def _simulate(deployment: Deployment, *, decisions: int, seed: int) -> Any:
    """Traffic with known outcomes, and what became of it."""
    command = [sys.executable, "-m", "training.cli", "simulate", "--json"]
    command += ["--url", str(deployment.client.base_url), "--key-env", "KEY"]
    command += ["--n", str(decisions), "--seed", str(seed)]
    environ = {**os.environ, "KEY": SECRETS["ROUTER_API_KEYS"]}
    done = subprocess.run(
        command, env=environ, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_killed_store_loses_nothing_that_was_acknowledged(deployment: Deployment) -> None:
    with Load(deployment.client) as load:
        deployment.engine.docker("kill", "--signal", "KILL", deployment.container("store"))
        load.wait_for(100)
        deployment.compose("start", "store")
        deployment.wait_until_healthy("store")
        load.wait_for(100)
    assert load.failed == []
    _await_in_log(deployment, load)


def test_requests_are_answered_while_a_replica_hangs(deployment: Deployment) -> None:
    with Load(deployment.client) as load:
        deployment.engine.docker("pause", deployment.container("router-1"))
        try:
            load.wait_for(200)
        finally:
            deployment.engine.docker("unpause", deployment.container("router-1"))
        load.wait_for(50)
    assert load.failed == []
    _await_in_log(deployment, load)


def test_requests_are_answered_while_a_replica_is_dead(deployment: Deployment) -> None:
    with Load(deployment.client) as load:
        deployment.engine.docker("kill", "--signal", "KILL", deployment.container("router-2"))
        load.wait_for(200)
        deployment.compose("start", "router-2")
        deployment.wait_until_healthy("router-2")
        load.wait_for(50)
    assert load.failed == []
    # A decision may wait in a killed process's memory; feedback that was accepted never does.
    wait_until(
        lambda: set(load.reported) <= deployment.exported("feedback", "decision_id"),
        timeout_s=60.0,
    )


def test_a_rolling_restart_fails_no_request_and_loses_no_decision(deployment: Deployment) -> None:
    """New containers, as an upgrade makes them: other addresses, the same spools."""
    with Load(deployment.client) as load:
        for replica in REPLICAS:
            deployment.compose(
                *("up", "--detach", "--no-build", "--no-deps", "--force-recreate", "--wait"),
                replica,
            )
            load.wait_for(50)
    assert load.failed == []
    _await_in_log(deployment, load)


def test_a_stopped_replica_ends_in_good_order(deployment: Deployment) -> None:
    with Load(deployment.client) as load:
        deployment.compose("stop", "router-1")
        state = deployment.inspect("router-1")["State"]
        deployment.compose("start", "router-1")
        deployment.wait_until_healthy("router-1")
        load.wait_for(50)
    assert (state["ExitCode"], state["OOMKilled"]) == (0, False)
    assert load.failed == []
    _await_in_log(deployment, load)


def test_memory_limits_hold(deployment: Deployment) -> None:
    """No service came near being killed above; what asks for more than the limit is killed."""
    for service in SERVICES:
        state = deployment.inspect(service)["State"]
        assert state["Running"], service
        assert not state["OOMKilled"], service
    deployment.compose(
        *("run", "--rm", "--no-deps", "-T", "--entrypoint", "python", "router-1"),
        *("-c", "bytearray(2 << 30)"),
        status=137,
    )


def _await_in_log(deployment: Deployment, load: Load) -> None:
    """Every answered decision and every accepted feedback is exported, or will be in seconds."""
    wait_until(
        lambda: (
            set(load.decided) <= deployment.exported("decisions", "decision_id")
            and set(load.reported) <= deployment.exported("feedback", "decision_id")
        ),
        timeout_s=60.0,
    )
