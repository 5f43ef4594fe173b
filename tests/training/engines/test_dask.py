"""The engine on a real Dask cluster of several processes."""

import os
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from distributed import Client

from policies.exploration import Exploration
from policies.linear_policy import LinearPolicy
from policies.version import VERSION
from tests.dask_cluster import DaskCluster, dask_cluster, free_port
from tests.large_world import write_world
from training.cli import main
from training.engines import Engine
from training.engines.dask import DaskEngine, EngineError, _failures_told, dask_engine
from training.engines.local import LocalEngine
from training.errors import InputError
from training.fit.trained_policy import train_on_parts
from training.judge.judged_log import opened_log
from training.judge.log_evaluation import evaluate_log
from training.judge.log_report import LogReport
from training.log.partitions import log_in_parts

pytestmark = pytest.mark.slow

WORKERS = 2


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DaskCluster]:
    with dask_cluster(WORKERS, tmp_path_factory.mktemp("cluster")) as started:
        yield started


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("log")
    write_world(directory, rows=6_000, seed=3)
    return directory


def square(number: int) -> int:
    return number * number


def refuse(number: int) -> int:
    raise InputError(f"part {number} is wrong", field="at")


def missing_module(_: int) -> object:
    return import_module("no_such_module")


def process_of(_: int) -> int:
    return os.getpid()


def wait_for(path: Path, number: int) -> int:
    """A step that is done once a file is there."""
    while not path.exists():
        os.sched_yield()
    return number


def test_results_come_in_the_order_of_the_parts_from_several_processes(
    cluster: DaskCluster,
) -> None:
    with dask_engine(cluster.address) as engine:
        assert list(engine.map(square, range(50))) == [n * n for n in range(50)]
        assert len(set(engine.map(process_of, range(20)))) == WORKERS


def test_an_error_of_a_step_is_raised_as_it_is(cluster: DaskCluster) -> None:
    with dask_engine(cluster.address) as engine, pytest.raises(InputError, match="part 0 is wrong"):
        list(engine.map(refuse, range(3)))


def test_what_is_left_is_cancelled_when_the_caller_stops(
    cluster: DaskCluster, tmp_path: Path
) -> None:
    go = tmp_path / "go"
    with dask_engine(cluster.address) as engine, Client(cluster.address) as watcher:
        results = engine.map(partial(wait_for, go), range(100))
        go.touch()
        assert next(results) == 0
        results.close()  # type: ignore[attr-defined]
        while any(watcher.processing().values()):
            pass


def test_no_scheduler_is_said_so() -> None:
    with (
        pytest.raises(EngineError, match="no Dask scheduler answers"),
        dask_engine(f"tcp://127.0.0.1:{free_port()}"),
    ):
        pass


def test_the_command_ends_with_a_line_where_no_scheduler_answers(log: Path, tmp_path: Path) -> None:
    nobody = f"tcp://127.0.0.1:{free_port()}"
    arguments = ["train", "--logs", str(log), "--to", str(tmp_path / "policy")]
    result = CliRunner().invoke(main, [*arguments, "--engine", "dask", "--scheduler", nobody])
    assert result.exit_code == 1
    assert "no Dask scheduler answers" in result.output
    assert "Traceback" not in result.output


def test_a_cluster_that_loses_its_only_worker_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Instead of being waited for without an end."""
    monkeypatch.setattr("training.engines.dask._WORKERS_S", 1.0)
    with dask_cluster(1, tmp_path) as cluster, dask_engine(cluster.address) as engine:
        results = engine.map(partial(wait_for, tmp_path / "never"), range(3))
        cluster.kill_a_worker()
        with pytest.raises(EngineError, match="has had no worker for 1 s"):
            next(results)


def test_a_cluster_without_this_package_is_told_what_to_install(log: Path, tmp_path: Path) -> None:
    """In one line, and so is a step that finds a module missing later."""
    with dask_cluster(1, tmp_path, package=False) as cluster:
        arguments = ["train", "--logs", str(log), "--to", str(tmp_path / "policy")]
        options = ["--engine", "dask", "--scheduler", cluster.address]
        result = CliRunner().invoke(main, [*arguments, *options])
        with (
            Client(cluster.address) as client,
            pytest.raises(EngineError, match="the scheduler said"),
            _failures_told(),
        ):
            list(DaskEngine(client).map(square, range(3)))
    assert result.exit_code == 1
    assert "the scheduler has no adaptive-rag-router (No module named 'training')" in result.output
    assert f"install adaptive-rag-router[dask] {VERSION}" in result.output
    assert "Traceback" not in result.output


def test_a_module_that_workers_lack_is_told(cluster: DaskCluster) -> None:
    with (
        dask_engine(cluster.address) as engine,
        pytest.raises(EngineError, match="No module named 'no_such_module'"),
    ):
        list(engine.map(missing_module, range(3)))


def test_a_cluster_of_another_release_is_refused(
    cluster: DaskCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("training.engines.dask.VERSION", "99.0")
    with (
        pytest.raises(EngineError, match=rf"the scheduler has {VERSION}.*\[dask\] 99\.0"),
        dask_engine(cluster.address),
    ):
        pass


class KillingEngine:
    """Kills a worker after so many results, in the middle of what runs then."""

    def __init__(self, engine: Engine, cluster: DaskCluster, after: int) -> None:
        self._engine, self._cluster, self._left = engine, cluster, after

    def map(self, step: Callable[[Any], Any], parts: Sequence[Any]) -> Iterator[Any]:
        for result in self._engine.map(step, parts):
            self._left -= 1
            if self._left == 0:
                self._cluster.kill_a_worker()
            yield result

    @property
    def killed(self) -> bool:
        return self._left <= 0


def trained(log: Path, engine: Engine) -> LinearPolicy:
    with log_in_parts(log, engine, in_memory=0, part_rows=1_500) as parts:
        assert len(parts.parts) > WORKERS
        return train_on_parts(
            parts, engine=engine, holdout=0.3, objective=None, seed=5, source={"source": "logs"}
        )


def evaluated(log: Path, policy: LinearPolicy, engine: Engine) -> LogReport:
    with opened_log(log, policy, engine, seed=5, in_memory=0) as (parts, found):
        return evaluate_log(
            policy, found, parts.counts, objectives=[None], exploration=Exploration(), seed=5
        )


def assert_same_policy(one: LinearPolicy, other: LinearPolicy) -> None:
    ours, theirs = one.artifact(), other.artifact()
    assert ours.tensors.keys() == theirs.tensors.keys()
    for name, tensor in ours.tensors.items():
        np.testing.assert_allclose(tensor, theirs.tensors[name], rtol=0.0, atol=1e-6, err_msg=name)
    assert ours.manifest.name == theirs.manifest.name


@pytest.fixture(scope="module")
def local(log: Path) -> LinearPolicy:
    return trained(log, LocalEngine())


def test_the_policy_and_its_evaluation_are_those_of_the_local_engine(
    cluster: DaskCluster, log: Path, local: LinearPolicy
) -> None:
    with dask_engine(cluster.address) as engine:
        assert_same_policy(trained(log, engine), local)
        found = evaluated(log, local, engine)
    expected = evaluated(log, local, LocalEngine())
    for name, estimate in expected.objectives[0].estimates.items():
        value = found.objectives[0].estimates[name].value
        assert value == pytest.approx(estimate.value, abs=1e-9), name
    assert found.counts == expected.counts
    assert found.rows == expected.rows


def test_the_policy_is_the_same_with_a_worker_killed_on_the_way(
    tmp_path: Path, log: Path, local: LinearPolicy
) -> None:
    with dask_cluster(WORKERS, tmp_path) as cluster, dask_engine(cluster.address) as dask:
        assert isinstance(dask, DaskEngine)
        engine = KillingEngine(dask, cluster, after=12)
        assert_same_policy(trained(log, engine), local)
        assert engine.killed
        assert sum(worker.poll() is None for worker in cluster.workers) == WORKERS - 1
