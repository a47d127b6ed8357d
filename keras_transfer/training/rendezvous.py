"""All ranks meet at rank 0 before TensorFlow starts, and learn each other's addresses.

TensorFlow waits an hour, without a word, for a worker that does not come. Here rank 0 says every
few seconds who is missing, and every rank that came is told at the end. One line of JSON goes each
way: rank, held port and facts to rank 0; the addresses of all ranks, or an error, back.

An address is what rank 0 sees: no names of nodes to resolve, and all traffic goes through the
network in which rank 0 was named. There is no secret in it: who can reach the port may join, as
with TensorFlow's own ports later.
"""

import json
import os
import selectors
import socket
import time
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from absl import logging

from keras_transfer.core.errors import UserError
from keras_transfer.training.launchers import Place

_PROTOCOL = "keras_transfer rendezvous 1"
_NO_PROXY = "no_grpc_proxy"  # as gRPC spells it
_LONGEST_LINE = 1 << 20
_CONNECT_SECONDS = 5.0
# Rank 0 answers at its own time limit, which may have started later than that of the others.
_MARGIN_SECONDS = 10.0


class RendezvousTimeout(UserError):
    """Ranks did not come in time. A new start on other nodes may help."""


@dataclass(frozen=True)
class Cluster:
    """The processes that train together.

    Attributes:
        addresses: ``host:port`` of every rank, in rank order.
        rank: Of this process.
        held: Keeps the own port until TensorFlow listens there: keep the cluster until the strategy
            exists, then ``close`` it. None where no port had to be found.
    """

    addresses: tuple[str, ...]
    rank: int
    held: socket.socket | None = field(default=None, repr=False, compare=False)

    def close(self) -> None:
        """Releases the held port; TensorFlow keeps its own hold of it."""
        if self.held is not None:
            self.held.close()


def join(
    place: Place, facts: Mapping[str, str], *, timeout: float, log_every: float = 10.0
) -> Cluster:
    """Meets the other ranks.

    Args:
        place: Of this process. Addresses that it has (``TF_CONFIG``) are taken as they are.
        facts: What must be the same on all ranks, such as the version and a digest of the config.
        timeout: Seconds to wait for the others, on each rank from its own start.
        log_every: Seconds between two log lines about who is missing.

    Raises:
        RendezvousTimeout: If ranks are missing in the end, or rank 0 cannot be reached.
        UserError: If ranks disagree, or this one does not fit in.
    """
    if place.workers:
        return Cluster(place.workers, place.rank)
    if place.size == 1:
        return Cluster(("127.0.0.1:0",), 0)
    held = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        held.bind(("", 0))  # never listens: TensorFlow will, at the same port
        hello = {
            "protocol": _PROTOCOL,
            "rank": place.rank,
            "size": place.size,
            "host": socket.gethostname(),
            "port": held.getsockname()[1],
            "process": uuid.uuid4().hex,
            "facts": dict(facts),
        }
        meet = _lead if place.rank == 0 else _follow
        addresses = meet(place, hello, timeout, log_every)
    except BaseException:
        held.close()
        raise
    return Cluster(tuple(addresses), place.rank, held)


def configure(cluster: Cluster) -> None:
    """Tells TensorFlow, through ``os.environ``; before it is imported."""
    os.environ.pop("TF_CONFIG", None)
    if len(cluster.addresses) == 1:
        return
    task = {"type": "worker", "index": cluster.rank}
    members = {"worker": list(cluster.addresses)}
    os.environ["TF_CONFIG"] = json.dumps({"cluster": members, "task": task})
    # With http_proxy set, even workers of one host wait for each other in silence.
    kept = os.environ.get(_NO_PROXY) or os.environ.get("no_proxy") or ""
    hosts = [address.rpartition(":")[0] for address in cluster.addresses]
    names = dict.fromkeys(name for name in [*kept.split(","), *hosts] if name)
    os.environ[_NO_PROXY] = ",".join(names)
    if cluster.held is not None:
        os.environ["TF_GRPC_REUSE_PORT"] = "1"


def _encode(message: Mapping[str, Any]) -> bytes:
    return json.dumps(message).encode() + b"\n"


def _keep_alive(sock: socket.socket) -> None:
    """Lets the kernel find out within half a minute that the other host is gone."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in (("TCP_KEEPIDLE", 10), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", 4)):
        if hasattr(socket, option):
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)


def _names(ranks: Iterable[int]) -> str:
    """Returns ranks in words: ``rank 3`` or ``ranks 0, 2-7``."""
    runs: list[list[int]] = []
    for rank in sorted(ranks):
        if runs and rank == runs[-1][-1] + 1:
            runs[-1].append(rank)
        else:
            runs.append([rank])
    text = ", ".join(str(r[0]) if len(r) == 1 else f"{r[0]}-{r[-1]}" for r in runs)
    return f"rank{'s' if len(runs) > 1 or len(runs[0]) > 1 else ''} {text}"


# --- The other ranks


def _follow(place: Place, hello: dict[str, Any], timeout: float, log_every: float) -> list[str]:
    """Returns the addresses that rank 0 tells."""
    goal = f"{place.leader_host}:{place.leader_port}"
    start = time.monotonic()
    next_log, pause = start + log_every, 0.1
    while True:
        try:
            return _ask(place, hello, timeout)
        except (OSError, UnicodeError) as error:  # UnicodeError: a name that cannot be one
            now, reason = time.monotonic(), str(error) or type(error).__name__
        if now + pause > start + timeout:
            raise RendezvousTimeout(
                f"Rank {place.rank} on {hello['host']} cannot meet rank 0 at {goal} within "
                f"{timeout:.0f} s: {reason}. Look at rank 0's log, MASTER_ADDR and MASTER_PORT."
            )
        if now >= next_log:
            logging.info("Rank %d waits for rank 0 at %s: %s", place.rank, goal, reason)
            next_log = now + log_every
        time.sleep(pause)
        pause = min(1.0, pause * 1.5)


def _ask(place: Place, hello: dict[str, Any], timeout: float) -> list[str]:
    goal = (place.leader_host, place.leader_port)
    with socket.create_connection(goal, timeout=min(_CONNECT_SECONDS, timeout)) as sock:
        if sock.getsockname() == sock.getpeername():  # TCP may connect a free port to itself
            raise ConnectionRefusedError("nobody listens yet")
        _keep_alive(sock)
        sock.sendall(_encode(hello))
        line, end = b"", time.monotonic() + timeout + _MARGIN_SECONDS
        while not line.endswith(b"\n") and len(line) < _LONGEST_LINE:
            sock.settimeout(max(0.01, end - time.monotonic()))
            part = sock.recv(1 << 16)
            if not part:
                raise ConnectionError("it closed the connection")
            line += part
    try:
        answer = json.loads(line)
        if answer["protocol"] != _PROTOCOL:
            raise ValueError
    except (ValueError, KeyError, TypeError):
        raise UserError(
            f"What answers at {goal[0]}:{goal[1]} is not rank 0 of this program: choose another "
            f"MASTER_PORT (it says {line[:40]!r})."
        ) from None
    if "error" in answer:
        raise (RendezvousTimeout if answer.get("late") else UserError)(answer["error"])
    return answer["addresses"]


# --- Rank 0


@dataclass(eq=False)
class _Guest:
    """A connection to rank 0: a stranger until its first line proves otherwise."""

    sock: socket.socket
    address: str
    received: bytes = b""
    hello: dict[str, Any] = field(default_factory=dict)


def _lead(place: Place, hello: dict[str, Any], timeout: float, log_every: float) -> list[str]:
    """Returns the addresses of all ranks, and tells them to all."""
    try:
        server = socket.create_server(("", place.leader_port), backlog=4096)
    except OSError as error:
        raise UserError(
            f"Rank 0 on {hello['host']} cannot listen at port {place.leader_port} "
            f"({error.strerror}): is another run there, or a second rank 0? Choose another "
            "MASTER_PORT."
        ) from None
    with server, selectors.DefaultSelector() as selector:
        host = _Host(place.size, hello, server, selector)
        try:
            return host.meet(timeout, log_every)
        finally:
            host.close()


class _Host:
    """Rank 0. It never waits for a single connection, so none can hold up the others."""

    def __init__(
        self,
        size: int,
        hello: dict[str, Any],
        server: socket.socket,
        selector: selectors.BaseSelector,
    ):
        self._size = size
        self._hello = hello
        self._server = server
        self._selector = selector
        self._guests: dict[int, _Guest] = {}
        self._refused: list[str] = []
        server.setblocking(False)
        selector.register(server, selectors.EVENT_READ)

    def meet(self, timeout: float, log_every: float) -> list[str]:
        start = time.monotonic()
        end, next_log = start + timeout, start + log_every
        while missing := set(range(1, self._size)) - set(self._guests):
            now = time.monotonic()
            if now >= end:
                error = self._absence(missing, timeout)
                self._answer({"error": error, "late": True})
                raise RendezvousTimeout(error)
            if now >= next_log:
                logging.info("Rank 0 waits for %s of %d.", _names(missing), self._size)
                next_log = now + log_every
            for key, _ in self._selector.select(max(0.0, min(end, next_log) - now)):
                self._accept() if key.fileobj is self._server else self._read(key.data)
        if error := self._disagreement():
            self._answer({"error": error})
            raise UserError(error)
        addresses = self._addresses()
        self._answer({"addresses": addresses})
        logging.info("%d ranks met in %.1f s.", self._size, time.monotonic() - start)
        return addresses

    def close(self) -> None:
        for key in list(self._selector.get_map().values()):
            if key.data is not None:
                self._drop(key.data)

    def _accept(self) -> None:
        try:
            sock, address = self._server.accept()
        except (BlockingIOError, ConnectionError):  # gone again already
            return
        sock.setblocking(False)
        _keep_alive(sock)
        self._selector.register(sock, selectors.EVENT_READ, _Guest(sock, address[0]))

    def _drop(self, guest: _Guest) -> None:
        self._selector.unregister(guest.sock)
        guest.sock.close()
        if self._guests.get(guest.hello.get("rank", -1)) is guest:
            del self._guests[guest.hello["rank"]]

    def _read(self, guest: _Guest) -> None:
        if guest.sock.fileno() < 0:  # dropped since this event was reported
            return
        try:
            part = guest.sock.recv(1 << 16)
        except BlockingIOError:
            return
        except OSError:
            part = b""
        if not part:
            if guest.hello:
                logging.warning("%s has gone again.", _title(guest.hello))
            self._drop(guest)
        elif not guest.hello:
            guest.received += part
            if b"\n" in part or len(guest.received) > _LONGEST_LINE:
                self._welcome(guest)

    def _welcome(self, guest: _Guest) -> None:
        hello = _parse(guest.received)
        if hello is None:
            logging.warning("A stranger at %s was sent away.", guest.address)
            self._drop(guest)
            return
        before = self._guests.get(hello["rank"])
        if reason := self._misfit(hello, before):
            logging.warning("%s", reason)
            self._refused.append(reason)
            self._send(guest, {"error": reason})
            self._drop(guest)
            return
        if before is not None:  # the same process lost its connection and has a new one
            self._drop(before)
        guest.hello = hello
        self._guests[hello["rank"]] = guest

    def _misfit(self, hello: dict[str, Any], before: _Guest | None) -> str:
        """Returns why a rank cannot take part; empty if it can."""
        if hello["size"] != self._size:
            return f"{_title(hello)} counts {hello['size']} ranks, rank 0 counts {self._size}."
        if not 0 < hello["rank"] < self._size:
            return f"{_title(hello)} came, but the others are ranks 1 to {self._size - 1}."
        if before is not None and before.hello["process"] != hello["process"]:
            return f"{_title(hello)} came, but {_title(before.hello)} is here: each rank once."
        return ""

    def _absence(self, missing: set[int], timeout: float) -> str:
        text = f"{_names(missing).capitalize()} of {self._size} did not come within {timeout:.0f} s"
        refused = f" Sent away: {self._refused[-1]}" if self._refused else ""
        return f"{text}: look at the end of their logs.{refused}"

    def _disagreement(self) -> str:
        facts = {0: self._hello["facts"]}
        facts |= {rank: guest.hello["facts"] for rank, guest in self._guests.items()}
        parts = []
        for name in sorted(set().union(*facts.values())):
            by_value: dict[str, list[int]] = {}
            for rank in sorted(facts):
                value = repr(facts[rank][name]) if name in facts[rank] else "missing"
                by_value.setdefault(value, []).append(rank)
            if len(by_value) > 1:
                said = ", ".join(f"{v} on {_names(ranks)}" for v, ranks in by_value.items())
                parts.append(f"{name} is {said}")
        return f"The ranks disagree: {'; '.join(parts)}." if parts else ""

    def _addresses(self) -> list[str]:
        guests = [self._guests[rank] for rank in sorted(self._guests)]
        # Neighbours of rank 0 may come over the loopback, which other nodes cannot use: they get
        # the address by which a rank of another node reached rank 0.
        seen = [g.sock.getsockname()[0] for g in guests if not g.address.startswith("127.")]
        own = seen[0] if seen else "127.0.0.1"
        hosts = [own, *(own if g.address.startswith("127.") else g.address for g in guests)]
        ports = [self._hello["port"], *(guest.hello["port"] for guest in guests)]
        return [f"{host}:{port}" for host, port in zip(hosts, ports)]

    def _answer(self, message: dict[str, Any]) -> None:
        for guest in self._guests.values():
            self._send(guest, message)

    def _send(self, guest: _Guest, message: dict[str, Any]) -> None:
        try:
            guest.sock.settimeout(_CONNECT_SECONDS)
            guest.sock.sendall(_encode({"protocol": _PROTOCOL} | message))
        except OSError as error:
            logging.warning("No answer reaches %s: %s", guest.address, error)


def _title(hello: dict[str, Any]) -> str:
    return f"Rank {hello['rank']} on {hello['host']}"


def _parse(line: bytes) -> dict[str, Any] | None:
    """Returns a hello, or None for the words of a stranger."""
    kinds = {"rank": int, "size": int, "port": int, "host": str, "process": str, "facts": dict}
    try:
        hello = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(hello, dict) or hello.get("protocol") != _PROTOCOL:
        return None
    return hello if all(type(hello.get(k)) is kind for k, kind in kinds.items()) else None
