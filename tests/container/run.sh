#!/usr/bin/env bash
# Builds the submission image and runs it as the organisers of FLARE22 do, and harder: `make container-test`.
#
#   RUNTIME=cpu|cuda      flavour to build (default cpu: the cases are the same, and the image is a fifth of the size)
#   BASE_IMAGE=NAME       base to build on (default: the Dockerfile's own)
#   CI=true               no container engine is a failure; without it, a reason to skip
#   DEFAULT_IMAGE=true    build and run the default image, RUNTIME=cuda, too (in CI it is; it has 2.8 GB)
#
# An engine that answers `docker info` is used as it is. In CI, where none does, one is set up and torn down here: that
# needs root and Debian's package sources, but no image registry, because the base is made from those sources too.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

readonly RUNTIME=${RUNTIME:-cpu} LIMIT_CPU_IMAGE_MB=500
WORK=$(mktemp -d)
readonly WORK LOG=$WORK/log.txt INPUTS=$WORK/inputs OUTPUTS=$WORK/outputs
# Letters and digits: the organisers' rule for a team's image.
readonly NAME=dmfnettest$$
readonly FOLDERS=(-v "$INPUTS:/workspace/inputs" -v "$OUTPUTS:/workspace/outputs")
docker=(docker)
ENGINE_PATH=$PATH
build_args=(--build-arg "RUNTIME=$RUNTIME")
# with SimpleITK: another reader judges the label maps within the image, and there are NRRD and MetaImage to read
all_formats=(--build-arg FORMATS=all)
gpus=()
gpu_here=false
daemon_pid=
failed=()

# ---- an engine -------------------------------------------------------------------------------------------------------

install_engine() {
  # a package source that does not answer once is asked again
  local again=(-o Acquire::Retries=5)
  apt-get "${again[@]}" update -q && apt-get "${again[@]}" install -y -q --no-install-recommends docker.io mmdebstrap
}

make_base() {
  local file option options=(--aptopt='Acquire::Retries "5";') codename
  for file in /etc/apt/sources.list.d/*.sources /etc/apt/sources.list; do
    if [ -f "$file" ]; then cat "$file"; echo; fi
  done >"$WORK/sources"
  while read -r option; do options+=(--aptopt="$option"); done < <(apt-config dump | grep '^Acquire::Check-')
  codename=$(sed -n 's/^VERSION_CODENAME=//p' /etc/os-release)
  # without documentation, like the slim images that this one stands in for
  mmdebstrap --variant=apt --include=ca-certificates,python3,python3-venv --dpkgopt=force-unsafe-io \
    --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
    --dpkgopt='path-exclude=/usr/share/locale/*' "${options[@]}" "$codename" "$WORK/base.tar" <"$WORK/sources"
}

start_engine() {
  # The stub makes dockerd take --gpus where there is no GPU; nothing is handed in, as on a machine without a driver.
  mkdir "$WORK/stub"
  printf '#!/bin/sh\ncat >/dev/null\n' >"$WORK/stub/nvidia-container-runtime-hook"
  chmod +x "$WORK/stub/nvidia-container-runtime-hook"
  PATH=$WORK/stub:$PATH setsid dockerd --iptables=false --ip6tables=false --ip-forward=false --bridge=none \
    --storage-driver=overlay2 --oom-score-adjust=0 --data-root "$WORK/data" --exec-root "$WORK/exec" \
    --pidfile "$WORK/dockerd.pid" --host "$DOCKER_HOST" >"$WORK/dockerd.txt" 2>&1 </dev/null &
  daemon_pid=$!
  # on a busy machine this takes minutes
  for _ in $(seq 1200); do
    if "${docker[@]}" info >/dev/null 2>&1; then return 0; fi
    kill -0 "$daemon_pid" 2>/dev/null || break
    sleep 0.25
  done
  tail -n 20 "$WORK/dockerd.txt"
  return 1
}

import_base() {
  "${docker[@]}" import "$WORK/base.tar" "$BASE_IMAGE" && rm "$WORK/base.tar"
}

set_up_engine() {
  if [ "$(id -u)" != 0 ]; then
    echo "No container engine answers, and setting one up needs root." >&2
    exit 1
  fi
  step 'install an engine' install_engine
  docker=(/usr/bin/docker)  # Debian's client has BuildKit built in; another one on PATH may want a plug-in for it
  ENGINE_PATH=/usr/bin:$PATH  # for what is typed as people type it
  export DOCKER_HOST=unix://$WORK/docker.sock BASE_IMAGE=localhost/container-test-base
  step 'make a base image' make_base
  step 'start the engine' start_engine
  step 'import the base image' import_base
  build_args+=(--network host)  # this engine has no bridge; the runs below have no network at all
}

stop_engine() {
  kill "$daemon_pid" 2>/dev/null
  for _ in $(seq 400); do
    kill -0 "$daemon_pid" 2>/dev/null || break
    sleep 0.25
  done
  awk -v dir="$WORK/" 'index($2, dir) == 1 { print $2 }' /proc/mounts | sort -r | xargs -r -n1 umount
  find /sys/fs/cgroup -maxdepth 3 -depth -type d \( -path '*/docker' -o -path '*/docker/*' \) \
    -exec rmdir {} + 2>/dev/null
}

clean_up() {
  local status=$?
  trap - EXIT
  set +e
  remove "$INPUTS" "$OUTPUTS" "$WORK/phantom" "$WORK/alone" >/dev/null 2>&1
  "${docker[@]}" image rm -f "$NAME" "${NAME}nifti" "${NAME}cuda" >/dev/null 2>&1
  if [ -n "$daemon_pid" ]; then stop_engine; fi
  rm -rf "$WORK"
  exit "$status"
}

# ---- what the cases are written in -----------------------------------------------------------------------------------

# step NAME COMMAND...: what the cases stand on; its failure ends the test.
step() {
  local began=$SECONDS name=$1; shift
  printf '== %s\n' "$name" >>"$LOG"
  printf '%-60s' "$name"
  "$@" >>"$LOG" 2>&1 || { echo FAILED; tail -n 40 "$LOG"; exit 1; }
  printf 'ok %4d s\n' $((SECONDS - began))
}

# claim FUNCTION: a case, in a shell of its own, so that any failing command fails it and the next cases still run.
claim() {
  local began=$SECONDS status
  printf '%-60s' "${1//_/ }"
  empty_folders
  set +e
  (set -e; "$1") >"$WORK/case.txt" 2>&1
  status=$?
  set -e
  if [ "$status" = 0 ]; then
    printf 'ok %4d s\n' $((SECONDS - began))
    # the lines that are worth a look every time
    sed -n 's/^::/    /p' "$WORK/case.txt"
  else
    echo FAILED
    tail -n 40 "$WORK/case.txt"
    failed+=("$1")
  fi
}

# What a container wrote as root, only a container can remove on a user's machine.
remove() { rm -rf "$@" 2>/dev/null || "${docker[@]}" run --rm -v "$WORK:$WORK" "$NAME" rm -rf "$@"; }

# New folders as the organisers have them: writable by their owner only.
empty_folders() {
  remove "$INPUTS" "$OUTPUTS"
  mkdir -m 755 "$INPUTS" "$OUTPUTS"
}

run() { "${docker[@]}" container run --rm --network none "$@"; }

# put_cases SEED...
put_cases() {
  local n
  for n; do cp "$WORK/phantom/$n/images/Phantom_0001_0000.nii.gz" "$INPUTS/Phantom_000${n}_0000.nii.gz"; done
}

# expect_status STATUS COMMAND...
expect_status() {
  local want=$1 got=0; shift
  "$@" || got=$?
  [ "$got" = "$want" ] || { echo "exit status $got instead of $want: $*"; return 1; }
}

# refused_with PATTERN COMMAND...: fails with a sentence about it, without a traceback, and leaves no file.
refused_with() {
  local pattern=$1 status=0 text; shift
  text=$("$@" 2>&1) || status=$?
  echo "$text"
  [ "$status" != 0 ] || { echo 'exit status 0 instead of a failure'; return 1; }
  grep -qiE "$pattern" <<<"$text" || { echo "nothing said about: $pattern"; return 1; }
  ! grep -q Traceback <<<"$text" || return 1
  [ -z "$(ls -A "$OUTPUTS")" ] || { echo "files were left: $(ls -A "$OUTPUTS")"; return 1; }
}

# check_outputs SEED...: exactly these label maps, each on its scan's own grid and with the liver where the scan has it.
check_outputs() {
  local n want
  want=$(for n; do echo "Phantom_000$n.nii.gz"; done)
  [ "$(ls -A --ignore=run.json "$OUTPUTS")" = "$want" ] || { echo "outputs: $(ls -A "$OUTPUTS")"; return 1; }
  run -v "$OUTPUTS:/outputs:ro" -v "$WORK/phantom:/phantom:ro" "$NAME" python3 -c '
import sys
import SimpleITK as sitk
for n in sys.argv[1:]:
    scan = sitk.ReadImage(f"/phantom/{n}/images/Phantom_0001_0000.nii.gz")
    reference = sitk.ReadImage(f"/phantom/{n}/labels/Phantom_0001.nii.gz")
    labels = sitk.ReadImage(f"/outputs/Phantom_000{n}.nii.gz")
    for fact in ("GetSize", "GetSpacing", "GetOrigin", "GetDirection"):
        want, got = getattr(scan, fact)(), getattr(labels, fact)()
        assert all(abs(w - g) < 1e-4 for w, g in zip(want, got, strict=True)), (n, fact, want, got)
    assert labels.GetPixelID() == sitk.sitkUInt8, labels.GetPixelIDTypeAsString()
    a, b = (sitk.GetArrayViewFromImage(image) == 1 for image in (labels, reference))
    dsc = 2 * (a & b).sum() / (a.sum() + b.sum())
    assert dsc > 0.5, f"phantom {n}: the liver is not where the scan has it, DSC {dsc:.2f}"
' "$@"
}

# The phantoms come from the tree being tested, and are painted in the image: the machine needs no Python of its own.
make_phantoms() {
  local seed
  mkdir "$WORK/phantom"
  for seed in 1 2; do
    run -v "$PWD/evaluation:/workspace/evaluation:ro" -v "$WORK/phantom:/phantom" "$NAME" \
      python3 -m evaluation phantom --to "/phantom/$seed" --seed "$seed" || return 1
  done
}

# ---- the cases -------------------------------------------------------------------------------------------------------

# Word for word, $T being the team and $PWD the organisers' folder.
runs_the_organisers_command() {
  put_cases 1
  local T=$NAME
  cd "$WORK"
  "${docker[@]}" container run "${gpus[@]}" --name "$T" --rm -v "$PWD/inputs/:/workspace/inputs/" \
    -v "$PWD/outputs/:/workspace/outputs/" "$T:latest" /bin/bash -c "sh predict.sh"
  check_outputs 1
}

# From FLARE23 on: with limits on memory. Nothing here uses shared memory.
runs_the_organisers_later_command() {
  put_cases 1
  local T=$NAME
  cd "$WORK"
  "${docker[@]}" container run "${gpus[@]}" --shm-size=28gb -m 28G --name "$T" --rm \
    -v "$PWD/inputs/:/workspace/inputs/" -v "$PWD/outputs/:/workspace/outputs/" \
    "$T:latest" /bin/bash -c "sh predict.sh"
  check_outputs 1
}

runs_two_cases() {
  put_cases 1 2
  run "${FOLDERS[@]}" "$NAME"
  check_outputs 1 2
}

runs_with_every_limit_on() {
  put_cases 1
  chmod 777 "$OUTPUTS"
  run --read-only --tmpfs /tmp --user 1000:1000 --cap-drop=ALL --security-opt no-new-privileges \
    --memory 2g --memory-swap 2g --cpus 1 --pids-limit 64 \
    -v "$INPUTS:/workspace/inputs:ro" -v "$OUTPUTS:/workspace/outputs" "$NAME" /bin/bash -c "sh predict.sh"
  check_outputs 1
}

runs_in_two_gigabytes() {
  put_cases 1
  run --memory 2g --memory-swap 2g "${FOLDERS[@]}" "$NAME"
  check_outputs 1
  # The control: an engine that ignores limits would pass without it.
  expect_status 137 run --memory 256m --memory-swap 256m "$NAME" python3 -c 'len(bytearray(600 << 20))'
}

# SECURITY.md's command, word for word but for the image's name, in a folder that has inputs and outputs.
runs_the_command_for_files_of_strangers() {
  put_cases 1
  local command
  command=$(sed -n '/^    docker run/,/[^\\]$/p' SECURITY.md | sed "s/IMAGE/$NAME/")
  [ "$(grep -cE 'network none|read-only|cap-drop ALL' <<<"$command")" -ge 1 ]
  (cd "$WORK" && PATH=$ENGINE_PATH eval "$command")
  check_outputs 1
}

labels_the_good_among_24_mixed_cases_as_alone() {
  local limits=(--memory 2g --memory-swap 2g --read-only --cap-drop ALL) status=0 text
  local script=(-v "$PWD/tests/container/mixed_cases.py:/mixed_cases.py:ro")
  mkdir -p "$WORK/alone"
  run "${script[@]}" -v "$WORK/phantom:/phantom:ro" -v "$INPUTS:/inputs" "$NAME" \
    python3 /mixed_cases.py make /phantom /inputs
  # each good case alone, in a process of its own
  run -v "$INPUTS:/inputs:ro" -v "$WORK/alone:/alone" "$NAME" /bin/bash -ec \
    "for scan in /inputs/*-good.*; do python3 -m attention_dmfnet predict \"\$scan\" /alone; done"
  text=$(run "${limits[@]}" -v "$INPUTS:/workspace/inputs:ro" -v "$OUTPUTS:/workspace/outputs" "$NAME" 2>&1) || status=$?
  echo "$text"
  [ "$status" = 1 ]
  [ "$(grep -c ' FAILED: ' <<<"$text")" = 8 ]
  ! grep -E 'good.* FAILED' <<<"$text" || return 1
  run "${script[@]}" -v "$OUTPUTS:/together:ro" -v "$WORK/alone:/alone:ro" "$NAME" \
    python3 /mixed_cases.py compare /together /alone
}

lists_what_is_in_it() {
  [ -x .venv/bin/cyclonedx-py ] || { echo '::no cyclonedx-py in .venv, so make sbom was not tried'; return 0; }
  local package
  PATH=$ENGINE_PATH .ci/sbom "$NAME" "$WORK/sbom.json"
  for package in $(run "$NAME" python3 -c '
import importlib.metadata
print(*(d.name for d in importlib.metadata.distributions() if "/opt/venv" in str(d._path)))'); do
    grep -qiF "\"name\": \"$package\"" "$WORK/sbom.json" || { echo "not listed: $package"; return 1; }
  done
}

says_when_outputs_cannot_be_written() {
  put_cases 1
  refused_with '/workspace/outputs' run -v "$INPUTS:/workspace/inputs:ro" -v "$OUTPUTS:/workspace/outputs:ro" "$NAME"
  refused_with '/workspace/outputs' run --user 1000:1000 "${FOLDERS[@]}" "$NAME"
}

says_in_one_line_that_it_falls_back_to_the_cpu() {
  put_cases 1
  local text
  text=$(run "${gpus[@]}" "${FOLDERS[@]}" "$NAME" 2>&1)
  echo "$text"
  [ "$(grep -ciE '(gpu|cuda).*cpu|cpu.*(gpu|cuda)' <<<"$text")" = 1 ]
  check_outputs 1
}

never_takes_the_cpu_when_cuda_is_asked_for() {
  put_cases 1
  refused_with 'cuda' run "${gpus[@]}" "${FOLDERS[@]}" "$NAME" sh predict.sh inputs outputs --device cuda
}

holds_the_engine_and_nothing_to_build_with() {
  [ "$(run "$NAME" ls -A /workspace | tr '\n' ' ')" = 'LICENSE engine inputs models outputs predict.sh ' ]
  run -w / "$NAME" python3 -m attention_dmfnet predict --help
  run -w / "$NAME" attention-dmfnet --version
  run "$NAME" python3 -c '
import importlib.util, pathlib, shutil
there = [m for m in "torch onnx scipy monai training export evaluation pip".split() if importlib.util.find_spec(m)]
there += [c for c in "cc gcc g++ c++ clang make".split() if shutil.which(c)]
assert not there, there
source = list(pathlib.Path("engine").rglob("*.py"))
slow = [s for s in source if not pathlib.Path(importlib.util.cache_from_source(s)).exists()]
assert source, "no engine"
assert not slow, f"not compiled, so every cold start would compile it: {slow}"
from attention_dmfnet.model.loading import default_models
from attention_dmfnet.model.manifest import load_manifest
from attention_dmfnet.model.openvino_graphs import kept_graph
models = default_models()
manifest = load_manifest(models)
for stage in (manifest.coarse, manifest.fine):
    assert kept_graph(models, stage, stage.variants[0]) is not None, "every cold start would simplify the graph"
'
}

says_what_it_takes_and_gives_and_that_it_works_here() {
  local said
  # read to its end: grep -q leaves at the first find, and who still writes then fails
  said=$(run "$NAME" describe)
  grep -q '13 left kidney' <<<"$said"
  said=$(run "$NAME" describe --json)
  grep -q '"schema_version":1' <<<"$said"
  said=$(run "$NAME" doctor)
  tail -1 <<<"$said" | grep -qx 'A scan can be labelled.'
}

leaks_no_build_setting() {
  run "$NAME" /bin/bash -ec '
    if [ -s /etc/pip.conf ] || [ -e /run/secrets ] || [ -e /root/.cache ] || [ -e /root/.config ]; then exit 1; fi
    if env | grep -iE "pip_|proxy|secret|token"; then exit 1; fi
    # pip notes where a package came from unless it came from an index
    if find /opt/venv -name direct_url.json | grep .; then exit 1; fi'
  if "${docker[@]}" history --no-trunc "$NAME" | grep -iE 'https?://|_proxy'; then return 1; fi
  if "${docker[@]}" image inspect "$NAME" | grep -iE 'https?://|_proxy'; then return 1; fi
}

says_what_it_is() {
  local facts fact
  facts=$("${docker[@]}" image inspect "$NAME")
  for fact in '"org.opencontainers.image.licenses": "Apache-2.0"' '"org.opencontainers.image.version": "' \
    '"NVIDIA_VISIBLE_DEVICES=all"' '"NVIDIA_DRIVER_CAPABILITIES=compute,utility"' '"NVIDIA_REQUIRE_CUDA=cuda' \
    '"NVIDIA_DISABLE_REQUIRE=true"' 'driver 580 or newer (CUDA 13), Turing or newer'; do
    grep -qF "$fact" <<<"$facts" || { echo "missing: $fact"; return 1; }
  done
}

size_of() { echo $(($("${docker[@]}" image inspect --format '{{.Size}}' "$1") / 1000000)); }

# The flavour that is built without further words: NIfTI alone. It labels as the other one does.
is_small() {
  local megabytes
  echo "::$(size_of "$NAME") MB, RUNTIME=$RUNTIME, FORMATS=all"
  if [ "$RUNTIME" != cpu ]; then return; fi
  DOCKER_BUILDKIT=1 "${docker[@]}" build "${build_args[@]}" -t "${NAME}nifti" .
  megabytes=$(size_of "${NAME}nifti")
  echo "::$megabytes MB, RUNTIME=$RUNTIME"
  [ "$megabytes" -lt "$LIMIT_CPU_IMAGE_MB" ] || { echo "more than $LIMIT_CPU_IMAGE_MB MB"; return 1; }
  put_cases 1
  run "${FOLDERS[@]}" "${NAME}nifti"
  check_outputs 1
  touch "$INPUTS/other.nrrd"
  expect_status 1 run "${FOLDERS[@]}" "${NAME}nifti" sh predict.sh | tee "$WORK/said.txt"
  grep -q 'FORMATS=all' "$WORK/said.txt"
}

# Built without further words: RUNTIME=cuda. Without a GPU it takes the CPU and says so, and never where CUDA is asked for.
the_default_image_labels_without_a_gpu() {
  local text
  # the first two words are the runtime
  DOCKER_BUILDKIT=1 "${docker[@]}" build "${build_args[@]:2}" -t "${NAME}cuda" .
  echo "::$(size_of "${NAME}cuda") MB, the default image"
  put_cases 1
  text=$(run "${gpus[@]}" "${FOLDERS[@]}" "${NAME}cuda" 2>&1)
  echo "$text"
  grep -q 'OpenVINO on the CPU.*no NVIDIA GPU found' <<<"$text"
  check_outputs 1
  empty_folders
  put_cases 1
  refused_with 'cuda|driver' run "${gpus[@]}" "${FOLDERS[@]}" "${NAME}cuda" sh predict.sh inputs outputs --device cuda
}

runs_after_save_and_load() {
  local file=$WORK/$NAME.tar.gz
  "${docker[@]}" image save "$NAME" | gzip -1 >"$file"
  echo "::$(($(wc -c <"$file") / 1000000)) MB to hand in"
  "${docker[@]}" image rm "$NAME"
  "${docker[@]}" image load <"$file"
  rm "$file"
  put_cases 2
  run "${FOLDERS[@]}" "$NAME"
  check_outputs 2
}

# ---- all of it -------------------------------------------------------------------------------------------------------

find_engine() {
  if docker info >/dev/null 2>&1; then return; fi
  if [ "${CI:-}" != true ]; then
    echo "Container test skipped: no container engine answers 'docker info' here. Start Docker and type it again."
    exit 0
  fi
  set_up_engine
}

build_image() {
  if [ -n "${BASE_IMAGE:-}" ]; then build_args+=(--build-arg "BASE_IMAGE=$BASE_IMAGE"); fi
  # This machine's pip settings and certificates go in as secrets, its proxy as predefined arguments: in no layer.
  local conf=${PIP_CONFIG_FILE:-/etc/pip.conf} bundle=${SSL_CERT_FILE:-/etc/ssl/certs/ca-certificates.crt} name
  if [ -f "$conf" ]; then build_args+=(--secret "id=pip_conf,src=$conf"); fi
  if [ -f "$bundle" ]; then build_args+=(--secret "id=ca_bundle,src=$bundle"); fi
  for name in http_proxy https_proxy no_proxy HTTP_PROXY HTTPS_PROXY NO_PROXY; do
    if [ -n "${!name:-}" ]; then build_args+=(--build-arg "$name"); fi
  done
  DOCKER_BUILDKIT=1 "${docker[@]}" build "${build_args[@]}" "${all_formats[@]}" -t "$NAME" .
}

find_gpus() {
  if "${docker[@]}" run --rm --gpus="device=1" "$NAME" true >>"$LOG" 2>&1; then
    gpus=(--gpus="device=1")
  else
    echo 'note: this engine refuses --gpus="device=1"; the cases run without it'
  fi
}

main() {
  trap clean_up EXIT
  find_engine
  step "build the image, RUNTIME=$RUNTIME" build_image
  find_gpus
  step 'paint two phantoms' make_phantoms
  claim runs_the_organisers_command
  claim runs_the_organisers_later_command
  claim runs_two_cases
  claim runs_with_every_limit_on
  claim runs_in_two_gigabytes
  claim runs_the_command_for_files_of_strangers
  claim labels_the_good_among_24_mixed_cases_as_alone
  claim lists_what_is_in_it
  claim says_when_outputs_cannot_be_written
  if run "${gpus[@]}" "$NAME" test -e /dev/nvidiactl; then
    echo 'note: there is a GPU, so the cases without one are left out'
    gpu_here=true
  else
    claim says_in_one_line_that_it_falls_back_to_the_cpu
    claim never_takes_the_cpu_when_cuda_is_asked_for
  fi
  claim holds_the_engine_and_nothing_to_build_with
  claim says_what_it_takes_and_gives_and_that_it_works_here
  claim leaks_no_build_setting
  claim says_what_it_is
  claim is_small
  claim runs_after_save_and_load
  if [ "$RUNTIME" = cpu ] && [ "$gpu_here" = false ] && [ "${DEFAULT_IMAGE:-${CI:-}}" = true ]; then
    claim the_default_image_labels_without_a_gpu
  fi
  if [ "${#failed[@]}" != 0 ]; then
    echo "container test FAILED: ${failed[*]}"
    exit 1
  fi
  echo "container test passed in $SECONDS s"
}

main
