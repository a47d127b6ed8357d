"""Ranks as threads of this process: sockets do not know the difference."""

import json
import logging
import os
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from unittest.mock import Mock

import pytest

from keras_transfer.core.errors import UserError
from keras_transfer.training import rendezvous
from keras_transfer.training.launchers import Place
from keras_transfer.training.rendezvous import Cluster, RendezvousTimeout, configure, join

FACTS = {"version": "1.0", "config": "abc"}


@pytest.fixture
def port() -> int:
    with socket.create_server(("", 0)) as server:
        return server.getsockname()[1]


def _place(rank, size, port):
    return Place("torchrun", rank, size, rank, size, "127.0.0.1", port)


def _meet(size, port, *, ranks=None, facts=None, delay=None, timeout=5.0, log_every=10.0):
    """Returns rank -> cluster or exception, of all ranks that take part."""
    ranks = range(size) if ranks is None else ranks

    def one(rank):
        time.sleep((delay or {}).get(rank, 0))
        mine = FACTS | (facts or {}).get(rank, {})
        try:
            return join(_place(rank, size, port), mine, timeout=timeout, log_every=log_every)
        except Exception as error:
            return error

    with ThreadPoolExecutor(len(ranks)) as pool:
        results = dict(zip(ranks, pool.map(one, ranks)))
    for result in results.values():
        if isinstance(result, Cluster):
            result.close()
    return results


def _connect(port):
    """Connects as soon as rank 0 listens."""
    for _ in range(200):
        try:
            return socket.create_connection(("127.0.0.1", port), timeout=3)
        except OSError:
            time.sleep(0.01)
    raise AssertionError("rank 0 does not listen")


def _hello(rank, size, **changes):
    words = {"protocol": rendezvous._PROTOCOL, "rank": rank, "size": size, "host": "far"}
    words |= {"port": 1, "process": "p", "facts": FACTS}
    return rendezvous._encode(words | changes)


def _answer(sock):
    with sock.makefile("rb") as stream:
        line = stream.readline()
    return json.loads(line) if line else None


def _wait_for(text, caplog):
    for _ in range(300):
        if text in caplog.text:
            return
        time.sleep(0.01)
    raise AssertionError(f"{text!r} was not logged: {caplog.text}")


@pytest.fixture
def caplog(caplog):
    absl = logging.getLogger("absl")
    absl.addHandler(caplog.handler)
    with caplog.at_level(logging.INFO, "absl"):
        yield caplog
    absl.removeHandler(caplog.handler)


@pytest.mark.parametrize("size", [2, 3, 8])
def test_all_get_the_same_addresses(size, port):
    results = _meet(size, port)
    lists = {cluster.addresses for cluster in results.values()}
    assert len(lists) == 1
    (addresses,) = lists
    assert [cluster.rank for cluster in results.values()] == list(range(size))
    assert len(set(addresses)) == size
    assert {address.split(":")[0] for address in addresses} == {"127.0.0.1"}


def test_the_held_port_is_the_announced_one_and_is_kept_for_who_shares_it(port):
    with ThreadPoolExecutor(2) as pool:
        jobs = [pool.submit(join, _place(r, 2, port), FACTS, timeout=5) for r in range(2)]
        clusters = [job.result() for job in jobs]
    for cluster in clusters:
        assert cluster.held is not None
        mine = int(cluster.addresses[cluster.rank].split(":")[1])
        assert cluster.held.getsockname()[1] == mine
        with socket.socket() as other, pytest.raises(OSError):
            other.bind(("", mine))
        with socket.socket() as server:  # as TensorFlow does with TF_GRPC_REUSE_PORT
            server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            server.bind(("", mine))
            server.listen()
            cluster.close()
            socket.create_connection(("127.0.0.1", mine), timeout=1).close()


def test_one_process_and_given_addresses_need_no_socket(monkeypatch):
    monkeypatch.setattr(socket, "socket", None)
    assert join(Place("single"), FACTS, timeout=0) == Cluster(("127.0.0.1:0",), 0)
    given = Place("tf_config", 1, 2, 0, 1, "a", 1, ("a:1", "b:2"))
    assert join(given, FACTS, timeout=0) == Cluster(("a:1", "b:2"), 1)


@pytest.mark.parametrize("late", [0, 1])
def test_a_late_rank_is_waited_for_and_named(late, port, caplog):
    results = _meet(3, port, delay={late: 0.6}, log_every=0.2)
    assert all(isinstance(result, Cluster) for result in results.values())
    waits = "Rank 0 waits for rank 1 of 3." if late else "waits for rank 0 at 127.0.0.1:"
    assert waits in caplog.text


def test_missing_ranks_are_named_on_all_that_came(port):
    results = _meet(8, port, ranks=[0, 2, 7], timeout=0.7)
    for error in results.values():
        assert isinstance(error, RendezvousTimeout)
        assert str(error).startswith("Ranks 1, 3-6 of 8 did not come within 1 s")


def test_without_rank_0_the_others_say_where_they_looked(port):
    error = _meet(2, port, ranks=[1], timeout=0.5)[1]
    assert isinstance(error, RendezvousTimeout)
    assert f"cannot meet rank 0 at 127.0.0.1:{port}" in str(error)
    assert "refused" in str(error)


def test_disagreement_is_told_on_every_rank(port):
    facts = {2: {"config": "xyz"}, 1: {"extra": "1"}}
    errors = {str(error) for error in _meet(4, port, facts=facts).values()}
    assert errors == {
        "The ranks disagree: config is 'abc' on ranks 0-1, 3, 'xyz' on rank 2; "
        "extra is missing on ranks 0, 2-3, '1' on rank 1."
    }


@pytest.mark.parametrize(
    "words",
    [
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"",  # connects and says nothing
        b"\x16\x03\x01\x00",  # half a greeting
        b"[" * 100_000 + b"\n",
        b"7\n",
        b"\xff\xfe\n",
        _hello(1, 3).replace(b"rendezvous 1", b"rendezvous 0"),
        _hello("1", 3),
        _hello(True, 3),
        _hello(1, 3, facts=["version"]),
        b"x" * ((1 << 20) + 1),
    ],
    ids=range(11),
)
def test_strangers_hold_nobody_up(words, port):
    with ThreadPoolExecutor(1) as pool:
        meeting = pool.submit(_meet, 3, port, delay={1: 0.2, 2: 0.2}, timeout=3)
        with _connect(port) as stranger:
            try:
                stranger.sendall(words)
            except OSError:
                assert len(words) > 1 << 20  # sent away in the middle of it
            results = meeting.result()
    assert all(isinstance(result, Cluster) for result in results.values()), results


@pytest.mark.parametrize(
    ("hello", "words"),
    [
        (_hello(1, 2), "Rank 1 on far counts 2 ranks, rank 0 counts 3."),
        (_hello(0, 3), "Rank 0 on far came, but the others are ranks 1 to 2."),
        (_hello(3, 3), "Rank 3 on far came, but the others are ranks 1 to 2."),
    ],
)
def test_who_does_not_fit_is_told_and_the_others_meet(hello, words, port, caplog):
    with ThreadPoolExecutor(1) as pool:
        meeting = pool.submit(_meet, 3, port, delay={1: 0.3, 2: 0.3})
        with _connect(port) as sock:
            sock.sendall(hello)
            assert _answer(sock)["error"] == words
        results = meeting.result()
    assert all(isinstance(result, Cluster) for result in results.values())
    assert words in caplog.text


def test_the_second_of_a_rank_is_sent_away(port):
    with ThreadPoolExecutor(1) as pool:
        meeting = pool.submit(_meet, 3, port, ranks=[0], timeout=0.8)
        with _connect(port) as first, _connect(port) as second:
            first.sendall(_hello(1, 3, process="a"))
            time.sleep(0.1)
            second.sendall(_hello(1, 3, process="b", host="away"))
            reason = "Rank 1 on away came, but Rank 1 on far is here: each rank once."
            assert _answer(second)["error"] == reason
            told = _answer(first)
        error = meeting.result()[0]
    assert told["error"] == str(error)
    assert str(error).startswith("Rank 2 of 3 did not come") and reason in str(error)


def test_a_process_may_come_again_after_its_connection_broke(port):
    with ThreadPoolExecutor(1) as pool:
        meeting = pool.submit(_meet, 3, port, ranks=[0, 2], delay={2: 0.4})
        with _connect(port) as first, _connect(port) as second:
            first.sendall(_hello(1, 3, port=5))
            time.sleep(0.1)
            second.sendall(_hello(1, 3, port=6))
            assert _answer(first) is None
            assert _answer(second)["addresses"][1] == "127.0.0.1:6"
        assert isinstance(meeting.result()[0], Cluster)


def test_a_rank_that_went_away_is_missing_again(port, caplog):
    with ThreadPoolExecutor(1) as pool:
        meeting = pool.submit(_meet, 3, port, ranks=[0, 2], delay={2: 0.4}, timeout=0.9)
        with _connect(port) as gone:
            gone.sendall(_hello(1, 3))
            time.sleep(0.1)
        errors = meeting.result()
    _wait_for("Rank 1 on far has gone again.", caplog)
    assert {str(e).split(" did")[0] for e in errors.values()} == {"Rank 1 of 3"}


def test_two_runs_at_one_port(port):
    with socket.create_server(("", port)):
        error = _meet(2, port, ranks=[0])[0]
    assert isinstance(error, UserError)
    assert f"cannot listen at port {port}" in str(error)


def test_another_service_in_the_place_of_rank_0(port):
    def serve(server):
        sock, _ = server.accept()
        with sock:
            sock.recv(1 << 16)
            sock.sendall(b"HTTP/1.1 400 Bad Request\r\n")

    with socket.create_server(("", port)) as server:
        thread = threading.Thread(target=serve, args=(server,))
        thread.start()
        error = _meet(2, port, ranks=[1])[1]
        thread.join()
    assert isinstance(error, UserError) and not isinstance(error, RendezvousTimeout)
    assert "is not rank 0 of this program" in str(error)


def test_neighbours_of_rank_0_get_an_address_that_other_nodes_can_use():
    def connection(own):
        return Mock(getsockname=lambda: (own, 9))

    host = object.__new__(rendezvous._Host)
    host._hello = {"port": 10}
    host._guests = {
        2: rendezvous._Guest(connection("10.0.0.1"), "10.0.0.2", hello={"port": 12}),
        1: rendezvous._Guest(connection("127.0.1.1"), "127.0.0.1", hello={"port": 11}),
    }
    assert host._addresses() == ["10.0.0.1:10", "10.0.0.1:11", "10.0.0.2:12"]


def test_no_socket_stays_open(port):
    before = len(list(Path("/proc/self/fd").iterdir()))
    _meet(4, port)
    _meet(4, port, ranks=[0, 1], timeout=0.3)
    _meet(3, port, facts={1: {"config": "x"}})
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_tensorflow_is_told(monkeypatch):
    for name in ("TF_CONFIG", "no_grpc_proxy", "no_proxy", "TF_GRPC_REUSE_PORT"):
        monkeypatch.setenv(name, "old")
        monkeypatch.delenv(name)
    monkeypatch.setenv("no_proxy", "storage,n1")
    configure(Cluster(("n1:1", "n2:2", "n1:3"), 1))
    assert json.loads(os.environ["TF_CONFIG"]) == {
        "cluster": {"worker": ["n1:1", "n2:2", "n1:3"]},
        "task": {"type": "worker", "index": 1},
    }
    assert os.environ[rendezvous._NO_PROXY] == "storage,n1,n2"
    assert "TF_GRPC_REUSE_PORT" not in os.environ
    with socket.socket() as held:
        configure(Cluster(("n1:1", "n2:2"), 0, held))
    assert os.environ["TF_GRPC_REUSE_PORT"] == "1"
    configure(Cluster(("127.0.0.1:0",), 0))
    assert "TF_CONFIG" not in os.environ
