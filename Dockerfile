# Targets: cpu (default), gpu, train. What they are, and how to run them: docs/docker.md.
#
# Any base with Python 3.11 or newer, its venv module and groupadd will do, from any registry:
#   docker build --build-arg PYTHON_IMAGE=registry.example.org/python:3.12-slim .
# A package index of one's own, and the authority behind it, are told to pip by secrets, which
# stay out of every layer:
#   docker build --secret id=pip_conf,src=pip.conf --secret id=ca,src=ca.pem .
# where pip.conf says `cert = /run/secrets/ca`.
ARG PYTHON_IMAGE=python:3.11-slim-bookworm


FROM ${PYTHON_IMAGE} AS tools
WORKDIR /src
# pip stays here: what is shipped has none.
RUN python3 -m venv /tools && python3 -m venv --without-pip /opt/ganagerie
COPY scripts/image_packages.sh scripts/


FROM tools AS wheel
COPY requirements/build.txt requirements/
RUN --mount=type=secret,id=pip_conf,target=/etc/pip.conf --mount=type=secret,id=ca \
    /tools/bin/pip install --no-cache-dir --only-binary :all: --no-deps --require-hashes \
    -r requirements/build.txt
COPY pyproject.toml README.md LICENSE ./
COPY protos protos
COPY zoo zoo
COPY server server
COPY training training
COPY ganagerie ganagerie
RUN /tools/bin/pip wheel --no-cache-dir --no-index --no-deps --no-build-isolation \
    --wheel-dir /wheels .


FROM tools AS cpu-packages
COPY requirements/cpu.txt requirements/
RUN --mount=type=secret,id=pip_conf,target=/etc/pip.conf --mount=type=secret,id=ca \
    sh scripts/image_packages.sh serving requirements/cpu.txt
COPY --from=wheel /wheels /wheels
RUN sh scripts/image_packages.sh ours


FROM ${PYTHON_IMAGE} AS runtime
ARG VERSION=unknown
ARG REVISION=unknown
LABEL org.opencontainers.image.title="Ganagerie" \
      org.opencontainers.image.description="A GAN zoo that trains, watches and serves" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
# /zoo and /work are where other models and one's own files are mounted.
RUN groupadd --gid 10001 ganagerie && \
    useradd --uid 10001 --gid 10001 --no-create-home --home-dir /tmp --shell /usr/sbin/nologin \
        ganagerie && \
    install -d /zoo && install -d -o ganagerie -g ganagerie /work
# The root filesystem may be read-only: all that is written is in /tmp, and modules are compiled.
# A published port leads to the container's own address, so 127.0.0.1 would not do.
ENV PATH=/opt/ganagerie/bin:$PATH \
    HOME=/tmp \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    GANAGERIE_HOST=0.0.0.0
WORKDIR /work
USER 10001:10001
EXPOSE 50051 8080
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=10s --start-period=60s CMD ["ganagerie", "health"]
ENTRYPOINT ["ganagerie"]
CMD ["serve"]


FROM runtime AS cpu
COPY --from=cpu-packages /opt/ganagerie /opt/ganagerie


FROM tools AS gpu-packages
COPY requirements/gpu.txt requirements/
RUN --mount=type=secret,id=pip_conf,target=/etc/pip.conf --mount=type=secret,id=ca \
    sh scripts/image_packages.sh serving requirements/gpu.txt
COPY --from=wheel /wheels /wheels
RUN sh scripts/image_packages.sh ours


# CUDA and cuDNN come as packages; of the host it takes the driver alone.
FROM runtime AS gpu
ENV NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility
COPY --from=gpu-packages /opt/ganagerie /opt/ganagerie


FROM tools AS train-packages
COPY requirements/train.txt requirements/
RUN --mount=type=secret,id=pip_conf,target=/etc/pip.conf --mount=type=secret,id=ca \
    sh scripts/image_packages.sh training requirements/train.txt
COPY --from=wheel /wheels /wheels
RUN sh scripts/image_packages.sh ours


# It does not serve until it is told to: no port to ask.
FROM runtime AS train
ENV NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility
HEALTHCHECK NONE
COPY --from=train-packages /opt/ganagerie /opt/ganagerie
CMD ["train", "--help"]


FROM cpu
