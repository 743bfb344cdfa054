# The submission image: engine/, models/ and predict.sh on a base with Python 3.11 or newer and its venv module.
#   docker build -t attentiondmfnet .                          NVIDIA GPU, and CPU where there is none
#   docker build -t attentiondmfnet --build-arg RUNTIME=cpu .  the small one: it reads and writes NIfTI
#   ... --build-arg RUNTIME=cpu --build-arg FORMATS=all .      and NRRD and MetaImage, with 270 MB of SimpleITK
# (No `# syntax=` line: it would fetch a frontend from a registry, and the built-in one does.)
ARG BASE_IMAGE=python:3.11-slim-bookworm

FROM ${BASE_IMAGE} AS build
ARG RUNTIME=cuda
ARG FORMATS=nifti
SHELL ["/bin/bash", "-o", "pipefail", "-c"]
WORKDIR /build

# pip lives in an environment of its own, so that none is in the image.
RUN python3 -m venv /build/pip && python3 -m venv --without-pip /opt/venv

# The packages before the engine: a change of the code leaves this layer, by far the largest, as it is.
COPY pyproject.toml constraints.txt ./
# OpenVINO runs the networks in the cpu flavour, in half the time of ONNX Runtime, which would add 78 MB. There is no
# flavour for TensorRT: its plans are made on the GPU that runs them (docs/export.md).
RUN python3 -c "import sys, tomllib; \
p = tomllib.load(open('pyproject.toml', 'rb'))['project']; \
extras = {k: p['optional-dependencies'][k] for k in ('cuda', 'cpu')}; \
sys.argv[1] in extras or sys.exit(f'RUNTIME={sys.argv[1]}: there is only ' + ', '.join(extras)); \
print(*p['dependencies'], *extras[sys.argv[1]], sep='\n')" "${RUNTIME}" >all.txt \
 && left_out='^$' \
 && if [ "${RUNTIME}" = cpu ]; then left_out='^onnxruntime'; fi \
 && if [ "${RUNTIME} ${FORMATS}" = 'cpu nifti' ]; then left_out='^onnxruntime|^SimpleITK'; fi \
 && grep -Ev "${left_out}" all.txt >requirements.txt
# Both secrets are optional (an index of your own, a company's certificates) and stay out of every layer.
RUN --mount=type=secret,id=pip_conf,target=/etc/pip.conf \
    --mount=type=secret,id=ca_bundle,target=/etc/ssl/certs/ca-certificates.crt \
    /build/pip/bin/pip --python /opt/venv/bin/python install \
      --no-cache-dir --no-compile --disable-pip-version-check -c constraints.txt -r requirements.txt

# Left out: tests, headers and type stubs; OpenVINO's plugins for Intel GPU and NPU with their tuning table (the engine
# asks for CPU alone), its readers of other model formats than ONNX and its own, and its model converter.
# hadolint ignore=DL3003  # WORKDIR takes no pattern, and the folder's name holds the Python version of the base
RUN cd /opt/venv/lib/python3*/site-packages \
 && rm -rf openvino/{include,cmake,tools,torch} openvino/libs/cache.json \
      openvino/libs/libopenvino_{intel_gpu,intel_npu}_plugin.so \
      openvino/libs/libopenvino_{gguf,jax,paddle,pytorch,tensorflow,tensorflow_lite}_frontend.so.* \
      openvino/frontend/{jax,paddle,pytorch,tensorflow} \
      onnxruntime/{quantization,tools,transformers} \
      nvidia/*/include nvidia/*/lib/*.a \
 && find . -type d -name tests -prune -exec rm -rf {} + \
 && find . -name '*.pyi' -delete

# `docker run IMAGE describe`: words on the PATH, so that no entrypoint stands before the organisers' command.
RUN printf '#!/bin/sh\nexec python3 -m attention_dmfnet %s"$@"\n' '' >/opt/venv/bin/attention-dmfnet \
 && for word in describe doctor; do \
      printf '#!/bin/sh\nexec python3 -m attention_dmfnet %s "$@"\n' "${word}" >"/opt/venv/bin/${word}"; \
    done \
 && chmod +x /opt/venv/bin/attention-dmfnet /opt/venv/bin/describe /opt/venv/bin/doctor

COPY engine/ /workspace/engine/
COPY models/ /workspace/models/
# Compiled here, the imports of a cold start take 0.4 instead of 1.3 CPU-seconds (2 cores). unchecked-hash: the image's
# files do not change, so no import looks at a source file's date, which a copy may alter.
# The networks' graphs are simplified here, which is the same on every CPU and saves 0.25 CPU-seconds of each case for
# 19 MB. What OpenVINO compiles is not kept as well: that would hold for this builder's kind of CPU alone.
RUN python3 -m compileall -q -j 0 --invalidation-mode unchecked-hash /opt/venv/lib /workspace/engine \
 && PYTHONPATH=/workspace/engine /opt/venv/bin/python -B -m attention_dmfnet.model.openvino_graphs /workspace/models


FROM ${BASE_IMAGE}
# PYTHONPATH: `python3 -m attention_dmfnet` from any folder. PYTHONUNBUFFERED: a container that is stopped has shown all
# its lines. PYTHONDONTWRITEBYTECODE: all of it is compiled already, and the file system may be read-only. NVIDIA_*: what
# NVIDIA's container toolkit hands in: CUDA and nvidia-smi. The driver that RUNTIME=cuda needs stands there for programs
# to read; the toolkit would not start a container on an older one, and this one labels on the CPU then, so it is told not
# to look (NVIDIA_DISABLE_REQUIRE=false on the command line makes it).
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONPATH=/workspace/engine \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility \
    NVIDIA_REQUIRE_CUDA="cuda>=13.0" \
    NVIDIA_DISABLE_REQUIRE=true

COPY --from=build /opt/venv /opt/venv
WORKDIR /workspace
# Made here for engines that do not make mount points in a read-only image.
RUN mkdir inputs outputs
COPY --from=build /workspace/models models/
COPY --from=build /workspace/engine engine/
COPY LICENSE predict.sh ./

# Late, so that a new revision leaves the layers above as they are.
ARG RUNTIME=cuda
ARG VERSION=0.10.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="attention-dmfnet" \
      org.opencontainers.image.description="Thirteen abdominal organs from a CT (${RUNTIME}). Research only, not for clinical use." \
      attention-dmfnet.gpu="for RUNTIME=cuda: NVIDIA driver 580 or newer (CUDA 13), Turing or newer; otherwise the CPU" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.licenses="Apache-2.0"

# No USER: the organisers' command writes to an outputs folder that root owns. `docker run --user 1000:1000` works too.
CMD ["/bin/bash", "-c", "sh predict.sh"]
