"""A real Slurm from Debian's packages: two nodes on this host, for as long as the tests need it."""

import getpass
import os
import secrets
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
_PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "scontrol")
_PATH = f"{os.environ['PATH']}:/usr/sbin:/sbin"
# Names that are addresses: jobs can reach each other's nodes by name, as on a cluster.
_NODES = ("127.0.0.2", "127.0.0.3")
_SECONDS_TO_START = 30

# No cgroups, systemd, accounting or DNS. cred_expire is also how long a job that is queued again
# has to wait: 120 s unless it is set.
_CONFIG = """\
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={port}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=5
CredType=cred/munge
StateSaveLocation={folder}
SlurmdSpoolDir={folder}/%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
MailProg=/bin/true
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=sched_interval=1,sched_min_interval=0
SlurmdParameters=config_overrides
KillWait=10
PartitionName=all Nodes=ALL Default=YES
"""


class Slurm:
    """A running cluster.

    Attributes:
        environ: What its commands need in their environment.
    """

    def __init__(self, environ: dict[str, str]):
        self.environ = environ

    def run(self, *command: str, **variables: str) -> str:
        """Runs one of Slurm's commands and returns what it says."""
        environ = self.environ | variables
        done = subprocess.run(
            command, cwd=ROOT, env=environ, capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 0, f"{' '.join(command)}: {done.stdout}{done.stderr}"
        return done.stdout.strip()

    def state(self, job: str) -> str:
        """Returns the state of a job, such as RUNNING."""
        shown = self.run("scontrol", "show", "job", job)
        return shown.partition("JobState=")[2].split()[0]


@pytest.fixture(scope="session")
def slurm() -> Iterator[Slurm]:
    """Starts munged, slurmctld and two slurmd as the present user; skips where they are missing."""
    missing = [name for name in _PROGRAMS if shutil.which(name, path=_PATH) is None]
    if missing:
        pytest.skip(f"{missing[0]} is missing: apt-get install slurm-wlm munge")
    # Not below tmp_path: the name of a socket has at most 107 characters.
    folder = Path(tempfile.mkdtemp(prefix="slurm-"))
    environ = {**os.environ, "PATH": _PATH, "SLURM_CONF": str(folder / "slurm.conf")}
    _configure(folder)
    daemons = [_munged(folder), ["slurmctld", "-D", "-c"]]
    daemons += [["slurmd", "-D", "-c", "-N", node] for node in _NODES]
    started: list[subprocess.Popen] = []
    try:
        for command in daemons:
            log = (folder / f"{command[0]}-{len(started)}.out").open("w")
            started.append(
                subprocess.Popen(command, env=environ, stdout=log, stderr=log, process_group=0)
            )
            if command[0] == "munged":
                _wait_for(folder, lambda: (folder / "munge.socket").is_socket())
        cluster = Slurm(environ)
        _wait_for(folder, lambda: _idle(environ) == len(_NODES))
        yield cluster
        cluster.run("scancel", "--full", f"--user={getpass.getuser()}")
        _wait_for(folder, lambda: not cluster.run("squeue", "--noheader"))
    finally:
        for daemon in reversed(started):
            daemon.terminate()
            try:
                daemon.wait(10)
            except subprocess.TimeoutExpired:
                daemon.kill()
    shutil.rmtree(folder)


def _configure(folder: Path) -> None:
    ports = [_free_port() for _ in range(1 + len(_NODES))]
    host = socket.gethostname()
    text = _CONFIG.format(folder=folder, host=host, user=getpass.getuser(), port=ports[0])
    for node, port in zip(_NODES, ports[1:]):
        text += f"NodeName={node} NodeHostName={host} NodeAddr=127.0.0.1 Port={port} CPUs=2\n"
        (folder / node).mkdir()
    (folder / "slurm.conf").write_text(text)


def _munged(folder: Path) -> list[str]:
    """Its own key and socket: neither a system's munged nor /etc/munge is needed."""
    key = folder / "munge.key"
    key.touch(0o600)
    key.write_bytes(secrets.token_bytes(128))
    files = {
        "key-file": key,
        "socket": folder / "munge.socket",
        "seed-file": folder / "munge.seed",
        "pid-file": folder / "munged.pid",
        "log-file": folder / "munged.log",
    }
    return ["munged", "--foreground", "--force", *(f"--{k}={v}" for k, v in files.items())]


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def _idle(environ: dict[str, str]) -> int:
    shown = subprocess.run(
        ["sinfo", "--noheader", "-N", "-o", "%T"], env=environ, capture_output=True, text=True
    )
    return shown.stdout.split().count("idle")


def _wait_for(folder: Path, condition) -> None:
    deadline = time.monotonic() + _SECONDS_TO_START
    while not condition():
        if time.monotonic() > deadline:
            logs = "\n".join(f.read_text()[-2000:] for f in folder.glob("*.[lo][ou][gt]"))
            pytest.fail(f"Slurm did not get there in {_SECONDS_TO_START} s:\n{logs}")
        time.sleep(0.1)
