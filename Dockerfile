# Paddock's images. Targets: operator, gateway, runtime, runtime-cuda.
#
#   docker build --target runtime --tag paddock-runtime .
#
# BASE is any Debian or Ubuntu with Python 3.11 or newer and its venv module. Python packages come from the lock files,
# by hash. llama.cpp is compiled here (10 minutes on 2 cores): for every kind of x86-64 or Arm processor, and the best is
# picked at run time. LLAMA_CMAKE_ARGS changes that. `--build-context llama=DIR` takes a wheel of llama-cpp-python out of
# DIR instead of compiling; so do the end-to-end tests.
ARG BASE=docker.io/library/python:3.11.14-slim-bookworm
ARG CUDA=docker.io/nvidia/cuda:12.8.1-devel-ubuntu22.04


FROM ${BASE} AS base
RUN echo 'paddock:x:65532:65532:Paddock:/nonexistent:/usr/sbin/nologin' >>/etc/passwd \
 && echo 'paddock:x:65532:' >>/etc/group
# Nothing is written beside the code (the root file system may be read-only), and logs leave at once.
ENV PATH=/opt/paddock/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1


# --- Python packages. pip stays in /tools: the images carry none.
FROM ${BASE} AS packages
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_REQUIRE_VIRTUALENV=0
RUN python3 -m venv /tools \
 && python3 -m venv --without-pip /opt/paddock \
 && echo /opt/paddock/app >"$(/opt/paddock/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/paddock.pth"

FROM packages AS operator-packages
COPY requirements/image-operator.txt /requirements/
RUN /tools/bin/pip --python /opt/paddock/bin/python install --quiet --require-hashes --no-deps --only-binary=:all: \
    -r /requirements/image-operator.txt

FROM packages AS gateway-packages
COPY requirements/image-gateway.txt /requirements/
RUN /tools/bin/pip --python /opt/paddock/bin/python install --quiet --require-hashes --no-deps --only-binary=:all: \
    -r /requirements/image-gateway.txt

FROM packages AS runtime-packages
COPY requirements/image-runtime.txt /requirements/
RUN /tools/bin/pip --python /opt/paddock/bin/python install --quiet --require-hashes --no-deps --only-binary=:all: \
    -r /requirements/image-runtime.txt


# --- llama.cpp
FROM packages AS compilers
RUN apt-get update -qq \
 && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends build-essential \
 && rm -rf /var/lib/apt/lists/*
COPY requirements/llama-build.txt requirements/llama.txt /requirements/
RUN /tools/bin/pip install --quiet --require-hashes --no-deps --only-binary=:all: -r /requirements/llama-build.txt

FROM compilers AS llama-build
ARG LLAMA_CMAKE_ARGS="-DGGML_NATIVE=OFF -DGGML_BACKEND_DL=ON -DGGML_CPU_ALL_VARIANTS=ON"
RUN PATH=/tools/bin:$PATH CMAKE_ARGS="${LLAMA_CMAKE_ARGS}" \
    /tools/bin/pip wheel --no-deps --no-build-isolation --require-hashes -w /wheels -r /requirements/llama.txt

FROM ${CUDA} AS cuda-toolkit

FROM compilers AS llama-cuda-build
COPY --from=cuda-toolkit /usr/local/cuda /usr/local/cuda
ARG LLAMA_CUDA_CMAKE_ARGS="-DGGML_NATIVE=OFF -DGGML_BACKEND_DL=ON -DGGML_CPU_ALL_VARIANTS=ON -DGGML_CUDA=ON"
RUN PATH=/tools/bin:/usr/local/cuda/bin:$PATH CMAKE_ARGS="${LLAMA_CUDA_CMAKE_ARGS}" \
    LIBRARY_PATH=/usr/local/cuda/lib64/stubs \
    /tools/bin/pip wheel --no-deps --no-build-isolation --require-hashes -w /wheels -r /requirements/llama.txt

FROM scratch AS llama
COPY --from=llama-build /wheels/ /

FROM scratch AS llama-cuda
COPY --from=llama-cuda-build /wheels/ /

# The wheel brings its libraries twice, and those that are loaded at run time (bin/) away from where they are looked for.
# Virtual machines that advertise AMX and fault on its first instruction are common: that variant is left out.
FROM runtime-packages AS runtime-libraries
COPY --from=llama / /wheels/
RUN /tools/bin/pip --python /opt/paddock/bin/python install --quiet --no-deps --no-index /wheels/*.whl \
 && cd /opt/paddock/lib/python3*/site-packages && mkdir -p bin \
 && find bin -name 'libggml-*.so' ! -name '*-sapphirerapids.so' -exec mv -t llama_cpp/lib {} + \
 && rm -rf bin include lib

FROM runtime-packages AS runtime-cuda-libraries
COPY --from=llama-cuda / /wheels/
COPY --from=cuda-toolkit /usr/local/cuda/lib64/libcudart.so.12 /usr/local/cuda/lib64/libcublas.so.12 \
     /usr/local/cuda/lib64/libcublasLt.so.12 /opt/paddock/cuda/
RUN /tools/bin/pip --python /opt/paddock/bin/python install --quiet --no-deps --no-index /wheels/*.whl \
 && cd /opt/paddock/lib/python3*/site-packages && mkdir -p bin \
 && find bin -name 'libggml-*.so' ! -name '*-sapphirerapids.so' -exec mv -t llama_cpp/lib {} + \
 && rm -rf bin include lib


# --- The code, compiled so that a read-only root costs no start-up time.
FROM packages AS operator-code
COPY api/paddock_api /code/paddock_api
COPY operator/paddock_operator /code/paddock_operator
RUN python3 -m compileall -q --invalidation-mode unchecked-hash /code

FROM packages AS gateway-code
COPY api/paddock_api /code/paddock_api
COPY gateway/paddock_gateway /code/paddock_gateway
RUN python3 -m compileall -q --invalidation-mode unchecked-hash /code

FROM packages AS runtime-code
COPY api/paddock_api /code/paddock_api
COPY runtime/paddock_runtime /code/paddock_runtime
RUN python3 -m compileall -q --invalidation-mode unchecked-hash /code


FROM base AS operator
COPY --from=operator-packages /opt/paddock /opt/paddock
USER 65532:65532
EXPOSE 9090
ENTRYPOINT ["/opt/paddock/bin/python", "-m", "paddock_operator"]
COPY --from=operator-code /code /opt/paddock/app


FROM base AS gateway
COPY --from=gateway-packages /opt/paddock /opt/paddock
USER 65532:65532
EXPOSE 8080 9090
ENTRYPOINT ["/opt/paddock/bin/python", "-m", "paddock_gateway"]
COPY --from=gateway-code /code /opt/paddock/app


FROM base AS runtime-base
RUN ldconfig -p | grep -q libgomp.so.1 \
 || (apt-get update -qq && apt-get install -y -qq --no-install-recommends libgomp1 && rm -rf /var/lib/apt/lists/*)

FROM runtime-base AS runtime
COPY --from=runtime-libraries /opt/paddock /opt/paddock
USER 65532:65532
EXPOSE 8080
ENTRYPOINT ["/opt/paddock/bin/python", "-m", "paddock_runtime"]
COPY --from=runtime-code /code /opt/paddock/app


FROM runtime-base AS runtime-cuda
COPY --from=runtime-cuda-libraries /opt/paddock /opt/paddock
# The driver's own libraries come from the node, by its container runtime.
ENV LD_LIBRARY_PATH=/opt/paddock/cuda NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility
USER 65532:65532
EXPOSE 8080
ENTRYPOINT ["/opt/paddock/bin/python", "-m", "paddock_runtime"]
COPY --from=runtime-code /code /opt/paddock/app
