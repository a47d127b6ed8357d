"""Who started this process: its rank, the number of ranks and where rank 0 is.

Read from the environment alone, before TensorFlow starts. The order is that of ``_LAUNCHERS``: a
launcher inside another one (mpirun in a Slurm job) leaves the variables of both.
"""

import json
import re
import shutil
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from keras_transfer.core.errors import UserError, did_you_mean

Environ = Mapping[str, str]

_MPI_PORT = 29400
_SECONDS_OF_SCONTROL = 60


@dataclass(frozen=True)
class Place:
    """The place of a process among those that train together.

    Attributes:
        launcher: A name of ``_LAUNCHERS``.
        rank: From 0 to ``size - 1``.
        size: Number of processes.
        local_rank: Rank among the processes of this node.
        local_size: Number of processes of this node.
        leader_host: Where the others reach rank 0; empty for one process.
        leader_port: TCP port there; 0 for one process.
        workers: ``host:port`` in rank order if the launcher says so (``TF_CONFIG``), else empty.
    """

    launcher: str
    rank: int = 0
    size: int = 1
    local_rank: int = 0
    local_size: int = 1
    leader_host: str = ""
    leader_port: int = 0
    workers: tuple[str, ...] = ()


def detect(environ: Environ, launcher: str = "") -> Place:
    """Returns the place of this process.

    Args:
        environ: The environment, such as ``os.environ``.
        launcher: Name of the launcher to read; empty: the first that left its variables.

    Raises:
        UserError: If a variable is missing or wrong.
    """
    if launcher and launcher not in _LAUNCHERS:
        raise UserError(f"No launcher {launcher!r}.{did_you_mean(launcher, _LAUNCHERS)}")
    name = launcher or next(n for n, (is_here, _) in _LAUNCHERS.items() if is_here(environ))
    return _LAUNCHERS[name][1](environ)


def describe(place: Place) -> str:
    """Returns a place in words, for the start of a log."""
    if place.size == 1:
        return f"{place.launcher}: one process"
    return (
        f"{place.launcher}: rank {place.rank} of {place.size} "
        f"(local {place.local_rank} of {place.local_size}), "
        f"rank 0 at {place.leader_host}:{place.leader_port}"
    )


def _text(environ: Environ, name: str, meaning: str) -> str:
    if not environ.get(name):
        raise UserError(f"{name} is not set: it should be {meaning}.")
    return environ[name]


def _number(environ: Environ, name: str, low: int, high: int, default: int | None = None) -> int:
    """Returns the whole number of a variable, from ``low`` to ``high``."""
    should = f"a whole number from {low} to {high}"
    if default is not None and not environ.get(name):
        return default
    text = _text(environ, name, should)
    if not re.fullmatch(r"[0-9]{1,10}", text) or not low <= int(text) <= high:
        raise UserError(f"{name} is {text!r}: it should be {should}.")
    return int(text)


def _ranks(
    environ: Environ, rank: str, size: str, local_rank: str, local_size: str
) -> tuple[int, int, int, int]:
    """Returns the values of four variables; the two local ones may be missing together."""
    ranks = _number(environ, size, 1, 10**6)
    local = (0, 1)
    if environ.get(local_rank):
        neighbours = _number(environ, local_size, 1, ranks)
        local = (_number(environ, local_rank, 0, neighbours - 1), neighbours)
    return (_number(environ, rank, 0, ranks - 1), ranks, *local)


# --- TF_CONFIG


def _tf_config(environ: Environ) -> Place:
    workers, rank = _members(_text(environ, "TF_CONFIG", "JSON with cluster and task"))
    hosts = [worker.rpartition(":")[0] for worker in workers]
    local = [r for r, host in enumerate(hosts) if host == hosts[rank]]
    return Place(
        "tf_config",
        rank,
        len(workers),
        local.index(rank),
        len(local),
        hosts[0],
        int(workers[0].rpartition(":")[2]),
        tuple(workers),
    )


def _members(text: str) -> tuple[list[str], int]:
    """Returns the addresses in rank order (a chief is rank 0) and the own rank."""
    try:
        config: Any = json.loads(text)
        groups, kind, index = config["cluster"], config["task"]["type"], config["task"]["index"]
        chiefs, workers = (list(groups.get(name, [])) for name in ("chief", "worker"))
        index = int(index)  # some operators write it as text
    except (ValueError, KeyError, TypeError, AttributeError):
        raise _wrong_config(
            text,
            'should be like {"cluster": {"worker": ["host:port"]}, "task": {"type": "worker", '
            '"index": 0}}',
        ) from None
    strangers = sorted({*groups, kind} - {"chief", "worker"})
    if strangers:
        raise _wrong_config(
            text, f"has a {strangers[0]!r}, but all processes train alike: chief and worker only"
        )
    own = {"chief": chiefs, "worker": workers}[kind]
    if not 0 <= index < len(own) or len(chiefs) > 1:
        raise _wrong_config(text, f"says task {kind} {index}, which its cluster does not have")
    members = chiefs + workers
    for member in members:
        if not re.fullmatch(r"[^\s/]+:[0-9]{1,5}", str(member)) or members.count(member) > 1:
            raise _wrong_config(text, f"has {member!r}: it should be host:port, each of them once")
    return members, index + (len(chiefs) if kind == "worker" else 0)


def _wrong_config(text: str, reason: str) -> UserError:
    shown = text if len(text) <= 200 else f"{text[:200]}..."
    return UserError(f"TF_CONFIG is {' '.join(shown.split())!r}: it {reason}.")


# --- Variables that name the rank


def _torchrun(environ: Environ) -> Place:
    numbers = _ranks(environ, "RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
    if numbers[1] == 1:
        return Place("torchrun")
    host = _text(environ, "MASTER_ADDR", "the host of rank 0")
    # One more than it says: torchrun's own store listens at MASTER_PORT.
    return Place("torchrun", *numbers, host, _number(environ, "MASTER_PORT", 1, 65534) + 1)


def _mpi(
    launcher: str, rank: str, size: str, local_rank: str, local_size: str
) -> Callable[[Environ], Place]:
    def read(environ: Environ) -> Place:
        numbers = _ranks(environ, rank, size, local_rank, local_size)
        if numbers[1] == 1:
            return Place(launcher)
        # Not of the step: under mpirun its number differs between nodes.
        return Place(
            launcher, *numbers, _mpi_host(environ, numbers[1], numbers[3]), _port(environ, step=0)
        )

    return read


def _mpi_host(environ: Environ, size: int, local_size: int) -> str:
    if environ.get("MASTER_ADDR"):
        return environ["MASTER_ADDR"]
    if local_size == size:
        return "127.0.0.1"
    if environ.get("SLURM_JOB_NODELIST"):
        return _suffixed(environ, _host_names(environ, "SLURM_JOB_NODELIST")[0])
    return _text(environ, "MASTER_ADDR", "the host of rank 0, as in mpirun -x MASTER_ADDR=HOST")


def _port(environ: Environ, step: int) -> int:
    """MASTER_PORT, or one derived from the job so that jobs on one node do not meet."""
    job = _number(environ, "SLURM_JOB_ID", 0, 2**32 - 1, default=0)
    # Below 32768, where Linux starts to hand out ports by itself.
    derived = 12000 + (job * 97 + step) % 20000 if job else _MPI_PORT
    return _number(environ, "MASTER_PORT", 1, 65535, default=derived)


# --- Slurm


def _in_slurm_step(environ: Environ) -> bool:
    """A batch script without srun has SLURM_PROCID=0, but no step."""
    if not (environ.get("SLURM_STEP_ID") and environ.get("SLURM_PROCID")):
        return False
    tasks = _number(environ, "SLURM_STEP_NUM_TASKS", 1, 10**6)
    # Intel's mpirun starts one helper a node by srun: then the step counts helpers, not ranks.
    return tasks > 1 and environ.get("PMI_SIZE", str(tasks)) == str(tasks)


def _slurm(environ: Environ) -> Place:
    step = _number(environ, "SLURM_STEP_ID", 0, 2**32 - 1)
    size = _number(environ, "SLURM_STEP_NUM_TASKS", 1, 10**6)
    if size == 1:
        return Place("slurm")
    counts = _tasks_per_node(environ)
    if sum(counts) != size:
        raise UserError(
            f"SLURM_STEP_TASKS_PER_NODE is {environ['SLURM_STEP_TASKS_PER_NODE']!r}: it should add "
            f"up to SLURM_STEP_NUM_TASKS, {size}."
        )
    node = _number(environ, "SLURM_NODEID", 0, len(counts) - 1)
    local_rank = _number(environ, "SLURM_LOCALID", 0, counts[node] - 1)
    # Not SLURM_PROCID: neighbours share a node this way, however tasks are distributed.
    rank = sum(counts[:node]) + local_rank
    host = environ.get("MASTER_ADDR") or _first_host(environ, len(counts))
    return Place("slurm", rank, size, local_rank, counts[node], host, _port(environ, step))


def _tasks_per_node(environ: Environ) -> list[int]:
    name = "SLURM_STEP_TASKS_PER_NODE"
    counts = []
    text = _text(environ, name, "like 4(x2),3")
    for part in text.split(","):
        match = re.fullmatch(r"([1-9][0-9]{0,5})(?:\(x([1-9][0-9]{0,5})\))?", part.strip())
        if not match:
            raise UserError(f"{name} is {text!r}: it should be like 4(x2),3.")
        counts += [int(match[1])] * int(match[2] or 1)
    return counts


def _first_host(environ: Environ, nodes: int) -> str:
    hosts = _host_names(environ, "SLURM_STEP_NODELIST")
    if len(hosts) != nodes:
        raise UserError(
            f"SLURM_STEP_NODELIST is {environ['SLURM_STEP_NODELIST']!r}, {len(hosts)} host(s): it "
            f"should name the {nodes} of SLURM_STEP_TASKS_PER_NODE. Or set MASTER_ADDR."
        )
    return _suffixed(environ, hosts[0])


def _suffixed(environ: Environ, host: str) -> str:
    """The name of a host in the fast network: on JUWELS jwb0001i instead of jwb0001."""
    name, dot, domain = host.partition(".")
    return f"{name}{environ.get('KT_HOST_SUFFIX', '')}{dot}{domain}"


def _host_names(environ: Environ, name: str) -> list[str]:
    nodes = _text(environ, name, "Slurm's list of nodes")
    scontrol = shutil.which("scontrol", path=environ.get("PATH"))
    if scontrol is None:
        raise UserError(f"{name} is {nodes!r}, but scontrol is not in PATH: set MASTER_ADDR.")
    try:
        shown = subprocess.run(
            [scontrol, "show", "hostnames", nodes],
            env=dict(environ),
            capture_output=True,
            text=True,
            timeout=_SECONDS_OF_SCONTROL,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise UserError(f"{name} is {nodes!r}, but scontrol fails: {error}.") from None
    hosts = shown.stdout.split()
    if shown.returncode != 0 or not hosts:  # a bad list may give exit code 0 and no host
        raise UserError(f"{name} is {nodes!r}: scontrol show hostnames finds no host in it.")
    return hosts


# --- All of them, in the order of detection


def _has(name: str) -> Callable[[Environ], bool]:
    return lambda environ: bool(environ.get(name))


_MPI = {
    name: (_has(variables[0]), _mpi(name, *variables))
    for name, variables in {
        "openmpi": [f"OMPI_COMM_WORLD_{x}" for x in ("RANK", "SIZE", "LOCAL_RANK", "LOCAL_SIZE")],
        "mvapich": [f"MV2_COMM_WORLD_{x}" for x in ("RANK", "SIZE", "LOCAL_RANK", "LOCAL_SIZE")],
        "pals": ["PALS_RANKID", "PMI_SIZE", "PALS_LOCAL_RANKID", "PMI_LOCAL_SIZE"],
        "pmi": ["PMI_RANK", "PMI_SIZE", "MPI_LOCALRANKID", "MPI_LOCALNRANKS"],
    }.items()
}

_LAUNCHERS: dict[str, tuple[Callable[[Environ], bool], Callable[[Environ], Place]]] = {
    "tf_config": (_has("TF_CONFIG"), _tf_config),
    "torchrun": (_has("RANK"), _torchrun),  # experiments.launch_local speaks like torchrun
    "openmpi": _MPI["openmpi"],
    "slurm": (_in_slurm_step, _slurm),
    "mvapich": _MPI["mvapich"],
    "pals": _MPI["pals"],
    "pmi": _MPI["pmi"],
    "single": (lambda environ: True, lambda environ: Place("single")),
}
