"""The files for Kubernetes and Slurm: what they ask for exists, and the commands in them are understood."""

import contextlib
import copy
import functools
import operator
import os
import re
import shlex
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml
from packaging.requirements import Requirement

from cluster.__main__ import _parser
from cluster.places import Place
from tests.cluster.nodes import wait_until

ROOT = Path(__file__).parents[2]
MACHINES = ROOT / "cluster" / "machines"


def struct(required: str = "", **fields: Any) -> dict[str, Any]:
    """An object with these fields and no others."""
    return {"type": "object", "additionalProperties": False, "required": required.split(), "properties": fields}


TEXT, NUMBER, SWITCH = {"type": "string"}, {"type": "integer", "minimum": 0}, {"type": "boolean"}
TEXTS = {"type": "object", "additionalProperties": TEXT}
POD = struct("spec", metadata={"type": "object"}, spec={"type": "object"})
"""Kubernetes' own schema knows more of it."""

GROUP = {"rayStartParams": TEXTS, "template": POD, "resources": TEXTS, "labels": TEXTS}
HEAD = struct(
    "rayStartParams template",
    **GROUP,
    serviceType={"enum": ["ClusterIP", "NodePort", "LoadBalancer"]},
    headService={"type": "object"},
    enableIngress=SWITCH,
)
WORKERS = struct(
    "groupName minReplicas maxReplicas rayStartParams template",
    **GROUP,
    groupName=TEXT,
    replicas=NUMBER,
    minReplicas=NUMBER,
    maxReplicas=NUMBER,
    numOfHosts=NUMBER,
    idleTimeoutSeconds=NUMBER,
    suspend=SWITCH,
    scaleStrategy={"type": "object"},
)
CLUSTER = struct(
    "headGroupSpec",
    rayVersion=TEXT,
    authOptions=struct(mode={"enum": ["disabled", "token"]}, secretName=TEXT, enableK8sTokenAuth=SWITCH),
    headGroupSpec=HEAD,
    workerGroupSpecs={"type": "array", "items": WORKERS},
    enableInTreeAutoscaling=SWITCH,
    autoscalerOptions={"type": "object"},
    gcsFaultToleranceOptions={"type": "object"},
    headServiceAnnotations=TEXTS,
    suspend=SWITCH,
    managedBy=TEXT,
)
JOB = struct(
    "entrypoint rayClusterSpec",
    entrypoint=TEXT,
    rayClusterSpec=CLUSTER,
    activeDeadlineSeconds=NUMBER,
    backoffLimit=NUMBER,
    shutdownAfterJobFinishes=SWITCH,
    ttlSecondsAfterFinished=NUMBER,
    submissionMode={"enum": ["K8sJobMode", "HTTPMode", "InteractiveMode", "SidecarMode"]},
    submitterPodTemplate=POD,
    submitterConfig=struct(backoffLimit=NUMBER),
    entrypointNumCpus={"type": "number"},
    entrypointNumGpus={"type": "number"},
    entrypointResources=TEXT,
    runtimeEnvYAML=TEXT,
    jobId=TEXT,
    metadata=TEXTS,
    suspend=SWITCH,
    managedBy=TEXT,
)
RAY_JOB = struct(
    "apiVersion kind metadata spec",
    apiVersion={"const": "ray.io/v1"},
    kind={"const": "RayJob"},
    # the operator makes longer names of it, which Kubernetes allows 63 characters
    metadata=struct("name", name={"type": "string", "pattern": "^[a-z]([-a-z0-9]*[a-z0-9])?$", "maxLength": 47}),
    spec=JOB,
)
"""The fields of KubeRay's API reference, release 1.7.1, at the levels that the manifest has; its CRD is on no index.

Types and what is required are those of the Go structs (ray-operator/apis/ray/v1) that the CRD is made from.
"""


@pytest.fixture(scope="module")
def manifests() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = list(yaml.safe_load_all((MACHINES / "kuberay.yaml").read_text()))
    return found


def groups(job: dict[str, Any]) -> list[dict[str, Any]]:
    cluster = job["spec"]["rayClusterSpec"]
    return [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]


def test_the_kubernetes_manifest_has_fields_that_there_are(manifests: list[dict[str, Any]]) -> None:
    claim, job = manifests
    kubernetes_validate.validate(claim, "1.32", strict=True)
    jsonschema.validate(job, RAY_JOB)
    for group in groups(job):
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "node"}, "spec": group["template"]["spec"]}
        kubernetes_validate.validate(pod, "1.32", strict=True)


@pytest.mark.parametrize(
    ("path", "value", "sentence"),
    [
        ("spec entryPoint", "python", "'entryPoint' was unexpected"),
        ("spec ttlSecondsAfterFinished", "600", "'600' is not of type 'integer'"),
        ("spec rayClusterSpec authOptions mode", "tokens", "'tokens' is not one of"),
        ("spec rayClusterSpec headGroupSpec replicas", 1, "'replicas' was unexpected"),
        # a number without quotes
        ("spec rayClusterSpec headGroupSpec rayStartParams num-cpus", 0, "0 is not of type 'string'"),
        ("metadata name", "label-" * 8, "too long|does not match"),
    ],
)
def test_a_misspelt_field_would_be_found(
    manifests: list[dict[str, Any]], path: str, value: object, sentence: str
) -> None:
    job = copy.deepcopy(manifests[1])
    *above, last = path.split()
    functools.reduce(operator.getitem, above, job)[last] = value
    with pytest.raises(jsonschema.ValidationError, match=sentence):
        jsonschema.validate(job, RAY_JOB)


def test_a_misspelt_field_of_a_pod_would_be_found() -> None:
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "node"}}
    spec = {"containers": [{"name": "a", "image": "b", "volumeMount": []}]}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate({**pod, "spec": spec}, "1.32", strict=True)


def test_each_volume_that_is_mounted_is_there_and_each_there_is_mounted(manifests: list[dict[str, Any]]) -> None:
    claim, job = manifests
    for group in groups(job):
        spec = group["template"]["spec"]
        mounted = {mount["name"] for container in spec["containers"] for mount in container["volumeMounts"]}
        assert mounted == {volume["name"] for volume in spec["volumes"]}
        claims = {
            volume["persistentVolumeClaim"]["claimName"] for volume in spec["volumes"] if "emptyDir" not in volume
        }
        assert claims <= {claim["metadata"]["name"]}


def test_the_coordinator_of_the_manifest_is_understood_and_has_what_it_names(manifests: list[dict[str, Any]]) -> None:
    job = manifests[1]["spec"]
    words = shlex.split(job["entrypoint"])
    assert words[:3] == ["python", "-m", "cluster"]
    options = _parser("predict").parse_args(words[3:])
    assert options.inputs == Place("s3://archive/scans")
    cluster = job["rayClusterSpec"]
    head, worker = cluster["headGroupSpec"]["template"]["spec"], cluster["workerGroupSpecs"][0]["template"]["spec"]
    mounts = {mount["mountPath"] for mount in head["containers"][0]["volumeMounts"]}
    assert str(options.ledger.parent) in mounts
    assert str(options.staging) in {mount["mountPath"] for mount in worker["containers"][0]["volumeMounts"]}
    # Ray refuses a client of another version
    pins = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line)
    assert cluster["rayVersion"] == pins["ray"]


def test_what_a_worker_of_the_manifest_stages_fits_its_volume(manifests: list[dict[str, Any]]) -> None:
    worker = manifests[1]["spec"]["rayClusterSpec"]["workerGroupSpecs"][0]["template"]["spec"]
    options = _parser("predict").parse_args(["predict", "a", "b"])
    cpus = int(worker["containers"][0]["resources"]["limits"]["cpu"])
    limit = int(worker["volumes"][0]["emptyDir"]["sizeLimit"].removesuffix("Gi"))
    assert cpus // options.worker_cpus * options.staging_mb / 1024 <= limit


FAKES = {
    # slowly: whoever reads the first name alone is gone when the second one comes
    "scontrol": "echo one; /bin/sleep 0.2; echo two; /bin/sleep 0.2; echo three",
    "srun": 'echo "srun $*" >> "$LOG"',
    "sleep": "[ $1 = 60 ] && exit 1; exit 0",
    "python": 'if [ "$1" = -m ]; then echo "python $*" >> "$LOG"; exit 1; else exec "$REAL" "$@"; fi',
}


def slurm(folder: Path, **fakes: str) -> tuple["subprocess.Popen[str]", Path]:
    """The job, with stand-ins for Slurm's commands; and the file in which they say how they were called."""
    binaries = folder / ".venv" / "bin"
    binaries.mkdir(parents=True)
    for name, text in {**FAKES, **fakes}.items():
        (binaries / name).write_text(f"#!/bin/sh\n{text}\n")
        (binaries / name).chmod(0o755)
    log = folder / "log"
    log.touch()
    environment = {
        **os.environ,
        **{"SLURM_SUBMIT_DIR": str(folder), "SLURM_JOB_ID": "7", "SLURM_JOB_NODELIST": "one,two"},
        **{"SLURM_NNODES": "2", "SLURM_CPUS_PER_TASK": "16", "SLURM_TMPDIR": str(folder), "LOG": str(log)},
        "REAL": sys.executable,
    }
    words = ["bash", str(MACHINES / "slurm.sh"), "/scans", str(folder / "labels"), "--strict"]
    return subprocess.Popen(words, env=environment, stderr=subprocess.PIPE, text=True), log


def test_the_slurm_file_starts_ray_on_every_machine_and_then_the_coordinator(tmp_path: Path) -> None:
    """The options of the coordinator are read by the real parser."""
    job, log = slurm(tmp_path)
    _, said = job.communicate(timeout=600)
    # the coordinator's status is the job's
    assert job.returncode == 1, said
    lines = log.read_text().splitlines()
    starts = [line for line in lines if line.startswith("srun")]
    assert len(starts) == 2
    assert sum("--head" in line for line in starts) == 1
    (coordinator,) = (line for line in lines if line.startswith("python"))
    options = _parser("predict").parse_args(shlex.split(coordinator)[3:])
    assert (options.workers, options.address, options.strict) == (32, "one:6379", True)
    assert options.ledger.parent == tmp_path
    assert any("--address one:6379" in line for line in starts)


COORDINATOR = """if [ "$1" != -m ]; then exec "$REAL" "$@"; fi
exec "$REAL" -c '
import os, signal, sys, time
def stop(number, frame):
    time.sleep(1)
    open(os.environ["LOG"], "a").write("ended\\n")
    sys.exit(130)
signal.signal(signal.SIGTERM, stop)
open(os.environ["LOG"], "a").write("labels\\n")
time.sleep(600)
'"""


def test_a_slurm_job_that_is_stopped_waits_until_its_coordinator_has_ended(tmp_path: Path) -> None:
    job, log = slurm(tmp_path, python=COORDINATOR)
    wait_until(lambda: "labels" in log.read_text() or job.poll() is not None)
    job.terminate()
    _, said = job.communicate(timeout=600)
    assert job.returncode == 130, said
    # Ray's start may be noted late
    assert [line for line in log.read_text().splitlines() if not line.startswith("srun")] == ["labels", "ended"]


COPIES = """if [ "$1" = -m ]; then until [ "$(grep -c end "$LOG")" -ge 3 ]; do /bin/sleep 0.1; done; exit 0; fi
case "$*" in *partial*) echo begin >> "$LOG"; /bin/sleep 0.2; "$REAL" "$@"; echo end >> "$LOG";;
*) exec "$REAL" "$@";; esac"""


def test_two_copies_of_the_ledger_are_never_made_at_once(tmp_path: Path) -> None:
    kept = tmp_path / "labels" / "ledger.kept.sqlite"
    kept.parent.mkdir()
    with contextlib.closing(sqlite3.connect(kept)) as rows:
        rows.execute("CREATE TABLE cases(name)")
    # a minute is over at once: it is copied all the time
    job, log = slurm(tmp_path, python=COPIES, sleep="exit 0")
    _, said = job.communicate(timeout=600)
    assert job.returncode == 0, said
    marks = [line for line in log.read_text().splitlines() if line in ("begin", "end")]
    assert len(marks) >= 6
    assert marks == ["begin", "end"] * (len(marks) // 2)
    assert [path.name for path in kept.parent.iterdir()] == [kept.name]


def test_each_file_says_the_line_that_starts_it() -> None:
    assert "kubectl apply -f cluster/machines/kuberay.yaml" in (MACHINES / "kuberay.yaml").read_text()
    assert re.search(r"sbatch .*cluster/machines/slurm.sh", (MACHINES / "slurm.sh").read_text())


def test_the_image_has_what_the_extra_asks_for() -> None:
    text = (MACHINES / "Dockerfile").read_text()
    assert ".[cpu,dicom,cluster]" in text
    for source in re.findall(r"^COPY (.+) \S+$", text, re.MULTILINE):
        assert all((ROOT / name).exists() for name in source.split())
    admitted = {line[1:] for line in (MACHINES / "Dockerfile.dockerignore").read_text().splitlines() if line[0] == "!"}
    copied = {name for line in re.findall(r"^COPY (.+) \S+$", text, re.MULTILINE) for name in line.split()}
    assert copied == admitted
    assert Requirement(re.search(r"'(ray\[default\])'", text)[1]).name == "ray"  # type: ignore[index]
