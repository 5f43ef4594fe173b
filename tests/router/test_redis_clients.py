"""Clients of clusters and over TLS: first calls find their node, certificates are checked."""

import asyncio
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from policies.store_url import parse_store_url
from router.log.errors import StoreUnavailableError
from router.log.redis_store import RedisEventStore
from router.redis_clients import open_async_client, open_client
from tests.clusters import RunningCluster, free_port
from tests.event_factory import decision
from tests.stores import wait_until
from training.log.store import StoreError, connect


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a certificate for 127.0.0.1 that vouches for itself."""
    directory = tmp_path_factory.mktemp("tls")
    if shutil.which("openssl") is None:
        pytest.skip("openssl isn't installed")
    command = "openssl req -x509 -newkey rsa:2048 -nodes -days 1 -subj /CN=localhost"
    command += " -addext subjectAltName=IP:127.0.0.1 -keyout key.pem -out cert.pem"
    subprocess.run(command.split(), cwd=directory, check=True, capture_output=True)
    return directory


@pytest.fixture(params=["server", "cluster"])
def tls_url(request: pytest.FixtureRequest, authority: Path, tmp_path: Path) -> Iterator[str]:
    """A server that speaks TLS alone: by itself, or as a cluster's only node."""
    binary = shutil.which("redis-server")
    if binary is None:
        pytest.skip("redis-server isn't installed")
    port = free_port()
    options = f"--port 0 --tls-port {port} --bind 127.0.0.1 --unixsocket {tmp_path}/s"
    options += f" --tls-cert-file {authority}/cert.pem --tls-key-file {authority}/key.pem"
    options += f" --tls-ca-cert-file {authority}/cert.pem --tls-auth-clients no"
    options += f" --dir {tmp_path} --appendonly no"
    if request.param == "cluster":
        options += f" --cluster-enabled yes --tls-cluster yes --cluster-port {free_port()}"
    process = subprocess.Popen([binary, *options.split()], stdout=subprocess.DEVNULL)
    with redis.Redis(unix_socket_path=f"{tmp_path}/s") as client:

        def takes_writes() -> bool:
            assert process.poll() is None, "this redis-server has no TLS"
            try:
                return bool(client.set("{rag}:x", "1"))
            except redis.RedisError:
                return False

        if request.param == "cluster":
            wait_until(lambda: Path(f"{tmp_path}/s").exists())
            wait_until(client.ping)
            client.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
        wait_until(takes_writes)
    scheme = "rediss" if request.param == "server" else "rediss+cluster"
    yield f"{scheme}://127.0.0.1:{port}"
    process.kill()
    process.wait()


async def test_a_certificate_that_nobody_vouches_for_is_refused(tls_url: str) -> None:
    store = RedisEventStore.from_url(tls_url)
    with pytest.raises(StoreUnavailableError, match="(?i)certificate"):
        await store.ping()
    await store.close()
    client = open_client(parse_store_url(tls_url), timeout_s=2.0)
    with pytest.raises(redis.RedisError, match="(?i)certificate"):
        client.execute_command("GET", "{rag}:x")
    client.close()
    with pytest.raises(StoreError, match="(?i)certificate"):
        connect(tls_url)


async def test_a_private_authority_is_named_by_the_environment(
    tls_url: str, authority: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(authority / "cert.pem"))
    store = RedisEventStore.from_url(tls_url, shards=2)
    assert await store.append([decision(number) for number in range(10)]) == 10
    await store.close()
    client = open_client(parse_store_url(tls_url), timeout_s=2.0)
    assert client.execute_command("GET", "{rag}:x") == b"1"
    client.close()
    with connect(tls_url) as training:
        assert training.get("{rag}:x") == b"1"


async def test_calls_that_find_no_nodes_known_yet_go_to_the_right_one_all_the_same(
    shared_cluster: RunningCluster,
) -> None:
    """Each that is redirected would count towards closing the connections of all."""
    opened = open_async_client(parse_store_url(shared_cluster.url), timeout_s=5.0, connections=8)
    script = ("EVAL", "return redis.call('SET', KEYS[1], '1')", 1)
    calls = (opened.client.execute_command(*script, f"{{rag}}:{n}") for n in range(8))
    assert await asyncio.gather(*calls) == [b"OK"] * 8
    assert opened.client.reinitialize_counter == 0
    await opened.close()
