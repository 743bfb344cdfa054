"""The files for Kubernetes and Slurm: what they ask for exists, and the commands in them are understood."""

import os
import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from packaging.requirements import Requirement

from cluster.__main__ import _parser
from cluster.places import Place

ROOT = Path(__file__).parents[2]
MACHINES = ROOT / "cluster" / "machines"

# KubeRay's own schema is not on any package index; these are the fields of its API reference, release 1.7.1
FIELDS = {
    "RayJobSpec": "entrypoint backoffLimit shutdownAfterJobFinishes ttlSecondsAfterFinished rayClusterSpec "
    "submissionMode runtimeEnvYAML activeDeadlineSeconds suspend clusterSelector jobId metadata submitterPodTemplate",
    "RayClusterSpec": "rayVersion authOptions headGroupSpec workerGroupSpecs enableInTreeAutoscaling autoscalerOptions",
    "HeadGroupSpec": "rayStartParams template serviceType headService enableIngress resources",
    "WorkerGroupSpec": "groupName replicas minReplicas maxReplicas rayStartParams template numOfHosts",
}


@pytest.fixture(scope="module")
def manifests() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = list(yaml.safe_load_all((MACHINES / "kuberay.yaml").read_text()))
    return found


def known(kind: str, given: dict[str, Any]) -> bool:
    return set(given) <= set(FIELDS[kind].split())


def test_the_kubernetes_manifest_has_fields_that_there_are(manifests: list[dict[str, Any]]) -> None:
    claim, job = manifests
    kubernetes_validate.validate(claim, "1.32", strict=True)
    cluster = job["spec"]["rayClusterSpec"]
    assert (job["apiVersion"], job["kind"]) == ("ray.io/v1", "RayJob")
    assert known("RayJobSpec", job["spec"])
    assert known("RayClusterSpec", cluster)
    groups = [("HeadGroupSpec", cluster["headGroupSpec"])]
    groups += [("WorkerGroupSpec", group) for group in cluster["workerGroupSpecs"]]
    for kind, group in groups:
        assert known(kind, group)
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "node"}, "spec": group["template"]["spec"]}
        kubernetes_validate.validate(pod, "1.32", strict=True)


def test_a_misspelt_field_would_be_found(manifests: list[dict[str, Any]]) -> None:
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "node"}}
    spec = {"containers": [{"name": "a", "image": "b", "volumeMount": []}]}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate({**pod, "spec": spec}, "1.32", strict=True)
    assert not known("RayJobSpec", {"entryPoint": ""})


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
    "scontrol": "echo one; echo two",
    "srun": 'echo "srun $*" >> "$LOG"',
    "sleep": "[ $1 = 60 ] && exit 1; exit 0",
    "python": 'if [ "$1" = -m ]; then echo "python $*" >> "$LOG"; exit 1; else exec "$REAL" "$@"; fi',
}


def test_the_slurm_file_starts_ray_on_every_machine_and_then_the_coordinator(tmp_path: Path) -> None:
    """With stand-ins for Slurm's commands; the options of the coordinator are read by the real parser."""
    binaries = tmp_path / ".venv" / "bin"
    binaries.mkdir(parents=True)
    for name, text in FAKES.items():
        (binaries / name).write_text(f"#!/bin/sh\n{text}\n")
        (binaries / name).chmod(0o755)
    log = tmp_path / "log"
    environment = {
        **os.environ,
        **{"SLURM_SUBMIT_DIR": str(tmp_path), "SLURM_JOB_ID": "7", "SLURM_JOB_NODELIST": "one,two"},
        **{"SLURM_NNODES": "2", "SLURM_CPUS_PER_TASK": "16", "SLURM_TMPDIR": str(tmp_path), "LOG": str(log)},
        "REAL": os.sys.executable,  # type: ignore[attr-defined]
    }
    words = ["bash", str(MACHINES / "slurm.sh"), "/scans", str(tmp_path / "labels"), "--strict"]
    done = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)
    # the coordinator's status is the job's
    assert done.returncode == 1, done.stderr
    lines = log.read_text().splitlines()
    starts = [line for line in lines if line.startswith("srun")]
    assert len(starts) == 2
    assert sum("--head" in line for line in starts) == 1
    (coordinator,) = (line for line in lines if line.startswith("python"))
    options = _parser("predict").parse_args(shlex.split(coordinator)[3:])
    assert (options.workers, options.address, options.strict) == (32, "one:6379", True)
    assert options.ledger.parent == tmp_path
    assert any("--address one:6379" in line for line in starts)


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
