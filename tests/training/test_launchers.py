"""Environments as launchers leave them, and as people break them."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from keras_transfer.core.errors import UserError
from keras_transfer.training.launchers import Place, describe, detect

ROOT = Path(__file__).resolve().parents[2]


def _mpi(prefix, rank, size, local_rank, local_size):
    names = ("RANK", "SIZE", "LOCAL_RANK", "LOCAL_SIZE")
    values = (rank, size, local_rank, local_size)
    return {f"{prefix}_COMM_WORLD_{n}": str(v) for n, v in zip(names, values)}


def _slurm(node, local, tasks="2", counts="1(x2)", **more):
    return {
        "SLURM_JOB_ID": "1000",
        "SLURM_STEP_ID": "0",
        "SLURM_PROCID": "0",
        "SLURM_STEP_NUM_TASKS": tasks,
        "SLURM_STEP_TASKS_PER_NODE": counts,
        "SLURM_NODEID": str(node),
        "SLURM_LOCALID": str(local),
        "SLURM_STEP_NODELIST": "n[9-10]",
        "SLURM_JOB_NODELIST": "n[9-10]",
        **more,
    }


def _tf(cluster, kind="worker", index=0):
    return {"TF_CONFIG": json.dumps({"cluster": cluster, "task": {"type": kind, "index": index}})}


@pytest.fixture
def scontrol(tmp_path):
    """PATH with a scontrol that knows n[9-10] and, as the real one may, shrugs at BAD."""
    program = tmp_path / "scontrol"
    program.write_text(
        '#!/bin/sh\ncase "$1 $2 $3" in\n"show hostnames n[9-10]") echo n9; echo n10;;\n'
        '"show hostnames n9.site,n10.site") echo n9.site; echo n10.site;;\n'
        '"show hostnames BAD") ;;\n*) exit 1;;\nesac\n'
    )
    program.chmod(0o755)
    return {"PATH": str(tmp_path)}


TORCHRUN = {
    "RANK": "3",
    "WORLD_SIZE": "4",
    "LOCAL_RANK": "1",
    "LOCAL_WORLD_SIZE": "2",
    "MASTER_ADDR": "n1",
    "MASTER_PORT": "29500",
}
TWO = ["a:1", "b:2"]
PMI = {
    "PMI_RANK": "1",
    "PMI_SIZE": "4",
    "MPI_LOCALRANKID": "1",
    "MPI_LOCALNRANKS": "2",
    "MASTER_ADDR": "n1",
}
PALS = {
    "PALS_RANKID": "2",
    "PMI_SIZE": "4",
    "PALS_LOCAL_RANKID": "0",
    "PMI_LOCAL_SIZE": "2",
    "MASTER_ADDR": "n1",
}
PORT = 12000 + 97000 % 20000


@pytest.mark.parametrize(
    ("environ", "place"),
    [
        ({}, Place("single")),
        ({"RANK": "", "TF_CONFIG": ""}, Place("single")),
        ({"WORLD_SIZE": "4", "MASTER_ADDR": "n1"}, Place("single")),
        (
            _tf({"worker": TWO}, index=1),
            Place("tf_config", 1, 2, 0, 1, "a", 1, ("a:1", "b:2")),
        ),
        (
            _tf({"chief": ["c:7"], "worker": TWO}, "chief"),
            Place("tf_config", 0, 3, 0, 1, "c", 7, ("c:7", "a:1", "b:2")),
        ),
        (
            _tf({"chief": ["a:7"], "worker": TWO}, "worker", "0"),
            Place("tf_config", 1, 3, 1, 2, "a", 7, ("a:7", "a:1", "b:2")),
        ),
        (TORCHRUN, Place("torchrun", 3, 4, 1, 2, "n1", 29501)),
        ({"RANK": "0", "WORLD_SIZE": "1"}, Place("torchrun")),
        (
            {"RANK": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "h", "MASTER_PORT": "5"},
            Place("torchrun", 1, 2, 0, 1, "h", 6),
        ),
        (_mpi("OMPI", 1, 2, 1, 2), Place("openmpi", 1, 2, 1, 2, "127.0.0.1", 29400)),
        (
            _mpi("OMPI", 2, 4, 0, 2) | {"MASTER_ADDR": "n1", "MASTER_PORT": "77"},
            Place("openmpi", 2, 4, 0, 2, "n1", 77),
        ),
        (_mpi("OMPI", 0, 1, 0, 1), Place("openmpi")),
        (_mpi("MV2", 1, 2, 1, 2), Place("mvapich", 1, 2, 1, 2, "127.0.0.1", 29400)),
        (PMI, Place("pmi", 1, 4, 1, 2, "n1", 29400)),
        (PALS, Place("pals", 2, 4, 0, 2, "n1", 29400)),
        # A batch script without srun; a step of one task; srun.
        (
            {"SLURM_JOB_ID": "7", "SLURM_PROCID": "0", "SLURM_NTASKS": "2"},
            Place("single"),
        ),
        (_slurm(0, 0, tasks="1", counts="1"), Place("single")),
        (_slurm(0, 0), Place("slurm", 0, 2, 0, 1, "n9", PORT)),
        (_slurm(1, 0), Place("slurm", 1, 2, 0, 1, "n9", PORT)),
        # Cyclic: the rank that Slurm gives plays no part.
        (
            _slurm(1, 1, "5", "3,2", SLURM_PROCID="3"),
            Place("slurm", 4, 5, 1, 2, "n9", PORT),
        ),
        (_slurm(1, 0, KT_HOST_SUFFIX="i"), Place("slurm", 1, 2, 0, 1, "n9i", PORT)),
        (
            _slurm(1, 0, KT_HOST_SUFFIX="i", SLURM_STEP_NODELIST="n9.site,n10.site"),
            Place("slurm", 1, 2, 0, 1, "n9i.site", PORT),
        ),
        (
            _slurm(1, 0, MASTER_ADDR="m", MASTER_PORT="5000", KT_HOST_SUFFIX="i"),
            Place("slurm", 1, 2, 0, 1, "m", 5000),
        ),
        (_slurm(1, 0, SLURM_STEP_ID="2"), Place("slurm", 1, 2, 0, 1, "n9", PORT + 2)),
        # Inside each other: mpirun in a job, as its first and its other nodes see it.
        (
            _mpi("OMPI", 0, 4, 0, 2)
            | {"SLURM_JOB_ID": "1000", "SLURM_PROCID": "0", "SLURM_JOB_NODELIST": "n[9-10]"},
            Place("openmpi", 0, 4, 0, 2, "n9", PORT),
        ),
        (
            _mpi("OMPI", 3, 4, 1, 2) | _slurm(1, 0, tasks="1", counts="1"),
            Place("openmpi", 3, 4, 1, 2, "n9", PORT),
        ),
        # srun --mpi=pmi2 speaks of the same ranks; the helpers of Intel's mpirun do not.
        (_slurm(1, 0, PMI_RANK="1", PMI_SIZE="2"), Place("slurm", 1, 2, 0, 1, "n9", PORT)),
        (_slurm(1, 0) | PMI, Place("pmi", 1, 4, 1, 2, "n1", PORT)),
        (_slurm(1, 0) | TORCHRUN, Place("torchrun", 3, 4, 1, 2, "n1", 29501)),
        (
            TORCHRUN | _tf({"worker": TWO}),
            Place("tf_config", 0, 2, 0, 1, "a", 1, ("a:1", "b:2")),
        ),
    ],
)
def test_launchers_are_told_apart(environ, place, scontrol):
    assert detect(scontrol | environ) == place


def test_a_name_decides(scontrol):
    both = scontrol | _slurm(1, 0) | TORCHRUN | _tf({"worker": TWO})
    assert detect(both, "slurm") == Place("slurm", 1, 2, 0, 1, "n1", 29500)
    assert detect(both, "single") == Place("single")
    with pytest.raises(UserError, match="Did you mean 'slurm'"):
        detect(both, "slrm")
    with pytest.raises(UserError, match="OMPI_COMM_WORLD_SIZE is not set"):
        detect({}, "openmpi")


def test_derived_ports_stay_below_those_of_linux():
    environ = _slurm(0, 0, MASTER_ADDR="n9", SLURM_JOB_ID="4294967295")
    ports = {
        detect(environ | {"SLURM_STEP_ID": str(step)}).leader_port for step in range(0, 60000, 97)
    }
    assert len(ports) > 600 and min(ports) >= 12000 and max(ports) < 32768


def _without(environ, name):
    return {k: v for k, v in environ.items() if k != name}


TASK = {"type": "worker", "index": 0}


@pytest.mark.parametrize(
    ("environ", "words"),
    [
        (_without(TORCHRUN, "WORLD_SIZE"), "WORLD_SIZE is not set"),
        (_without(TORCHRUN, "MASTER_ADDR"), "MASTER_ADDR is not set: it should be the host"),
        (_without(TORCHRUN, "MASTER_PORT"), "MASTER_PORT is not set"),
        (_without(TORCHRUN, "LOCAL_WORLD_SIZE"), "LOCAL_WORLD_SIZE is not set"),
        (TORCHRUN | {"RANK": "4"}, "RANK is '4': it should be a whole number from 0 to 3"),
        (TORCHRUN | {"RANK": "-1"}, "RANK is '-1'"),
        (TORCHRUN | {"RANK": "two"}, "RANK is 'two'"),
        (TORCHRUN | {"RANK": "\u0663"}, "RANK is '\u0663'"),
        (TORCHRUN | {"WORLD_SIZE": "0"}, "WORLD_SIZE is '0'"),
        (TORCHRUN | {"LOCAL_RANK": "2"}, "LOCAL_RANK is '2'.* from 0 to 1"),
        (TORCHRUN | {"LOCAL_WORLD_SIZE": "5"}, "LOCAL_WORLD_SIZE is '5'.* from 1 to 4"),
        (TORCHRUN | {"MASTER_PORT": "65535"}, "MASTER_PORT is '65535'.* to 65534"),
        (_mpi("OMPI", 0, 4, 0, 2), "MASTER_ADDR is not set.* mpirun -x MASTER_ADDR"),
        (_mpi("OMPI", 5, 4, 0, 2), "OMPI_COMM_WORLD_RANK is '5'"),
        (_without(PMI, "MASTER_ADDR"), "MASTER_ADDR is not set"),
        (_without(PALS, "PMI_SIZE"), "PMI_SIZE is not set"),
        (_without(_slurm(0, 0), "SLURM_STEP_NUM_TASKS"), "SLURM_STEP_NUM_TASKS is not set"),
        (_without(_slurm(0, 0), "SLURM_STEP_TASKS_PER_NODE"), "_TASKS_PER_NODE is not set"),
        (_without(_slurm(0, 0), "SLURM_NODEID"), "SLURM_NODEID is not set"),
        (_without(_slurm(0, 0), "SLURM_STEP_NODELIST"), "SLURM_STEP_NODELIST is not set"),
        (_slurm(0, 0, counts="1(2)"), r"TASKS_PER_NODE is '1\(2\)': it should be like"),
        (_slurm(0, 0, counts="2(x2)"), "should add up to SLURM_STEP_NUM_TASKS, 2"),
        (_slurm(2, 0), "SLURM_NODEID is '2'.* from 0 to 1"),
        (_slurm(0, 1), "SLURM_LOCALID is '1'.* from 0 to 0"),
        (_slurm(0, 0, tasks="3", counts="1(x3)"), r"2 host\(s\).* the 3 of SLURM_STEP_TASKS"),
        (_slurm(0, 0, SLURM_STEP_NODELIST="BAD"), "SLURM_STEP_NODELIST is 'BAD'.* no host"),
        (_slurm(0, 0, SLURM_STEP_NODELIST="x["), r"SLURM_STEP_NODELIST is 'x\['.* no host"),
        (_slurm(0, 0, PATH="/nowhere"), "scontrol is not in PATH: set MASTER_ADDR"),
        ({"TF_CONFIG": "{"}, "TF_CONFIG is '{': it should be like"),
        ({"TF_CONFIG": "[1]"}, "should be like"),
        ({"TF_CONFIG": json.dumps({"cluster": {"worker": TWO}})}, "should be like"),
        ({"TF_CONFIG": json.dumps({"cluster": TWO, "task": TASK})}, "should be like"),
        (_tf({"worker": TWO}, index=2), "says task worker 2"),
        (_tf({"worker": TWO}, "chief"), "says task chief 0"),
        (_tf({"worker": TWO}, "evaluator"), "has a 'evaluator'"),
        (_tf({"worker": TWO, "ps": ["p:1"]}), "has a 'ps'.* chief and worker only"),
        (_tf({"worker": ["a:1", "a:1"]}), "'a:1'.* each of them once"),
        (_tf({"worker": ["a", "b"]}), "has 'a': it should be host:port"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(environ, words, scontrol):
    with pytest.raises(UserError, match=words) as caught:
        detect(scontrol | environ)
    assert "\n" not in str(caught.value)


def test_places_in_words():
    assert describe(Place("single")) == "single: one process"
    assert describe(detect(TORCHRUN)) == (
        "torchrun: rank 3 of 4 (local 1 of 2), rank 0 at n1:29501"
    )


def test_nothing_here_starts_tensorflow():
    code = (
        "import sys, experiments.launch_local, keras_transfer.training.launchers\n"
        "import keras_transfer.training.rendezvous\n"
        "assert not {'tensorflow', 'keras'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
