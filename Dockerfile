# udpft in a container. What `docker build -t udpft .` gives serves the folder mounted at /data:
#
#   docker run --rm -p 9000:9000/udp -v "$PWD:/data:ro" udpft
#   docker run --rm --user "$(id -u):$(id -g)" -v "$PWD:/downloads" -w /downloads \
#       udpft get NAME -s HOST
#
# Targets: `tool`, the above; `web`, the page for the browser; `test`, the checks; `bench`, an end of a
# benchmark's path. compose.yml uses them all.

# Another base, or this one by its digest: --build-arg BASE=python:3.13-slim@sha256:...
ARG BASE=python:3.13-slim

FROM ${BASE} AS wheels
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /src
# What udpft depends on comes first: it changes less often than the source, so its layer is kept.
# Their versions and hashes are in the lock: what was changed since is not installed.
COPY requirements.lock build.lock ./
RUN pip wheel --require-hashes --wheel-dir /wheels -r requirements.lock \
 && pip install --require-hashes -r build.lock
COPY pyproject.toml README.md LICENSE ./
COPY udpft udpft
RUN pip wheel --no-deps --no-build-isolation --wheel-dir /wheels .


FROM ${BASE} AS tool
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
COPY --from=wheels /wheels /tmp/wheels
# 1000 is the first ordinary user on most hosts, so that what is mounted is often that user's own.
RUN pip install --no-index --find-links=/tmp/wheels 'udpft[keys]' \
 && rm -r /tmp/wheels \
 && useradd --uid 1000 --create-home udpft \
 && mkdir /data
# Every address of the container, because loopback is not reached from outside; and each line at
# once, because a log is read while it grows.
ENV UDPFT_HOST=0.0.0.0 PYTHONUNBUFFERED=1
# By its number, which an orchestrator can tell from root's.
USER 1000:1000
EXPOSE 9000/udp
HEALTHCHECK --interval=30s --timeout=5s --start-period=10s \
    CMD udpft -q ping -s "127.0.0.1:${UDPFT_PORT:-9000}" --connect-timeout 3 || exit 1
ENTRYPOINT ["udpft"]
CMD ["serve", "/data"]


# What the page needs beside, which a server or a client has no use for.
FROM wheels AS web-wheels
COPY web.lock ./
RUN pip wheel --require-hashes --wheel-dir /wheels -r web.lock


FROM tool AS web
USER root
COPY --from=web-wheels /wheels /tmp/wheels
RUN pip install --no-index --find-links=/tmp/wheels 'udpft[web]' && rm -r /tmp/wheels
USER 1000:1000
EXPOSE 8080/tcp
HEALTHCHECK NONE
CMD ["web", "--host", "0.0.0.0", "--folder", "/data"]


FROM tool AS test
USER root
WORKDIR /src
COPY pyproject.toml ./
RUN python -c "import tomllib; project = tomllib.load(open('pyproject.toml', 'rb'))['project']; \
    print(*project['optional-dependencies']['test'], sep='\n')" > /tmp/test.txt \
 && pip install -r /tmp/test.txt
# Owned by the user that runs the checks, whose caches are written beside the source.
COPY --chown=udpft . .
RUN pip install --no-deps --editable . && chown udpft .
USER 1000:1000
HEALTHCHECK NONE
ENTRYPOINT []
CMD [".ci/check"]


FROM tool AS bench
USER root
# Web server and clients of the comparison, the peers over UDP, and what shapes the path.
RUN apt-get update \
 && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \
    nginx-light curl iperf3 uftp atftp atftpd srt-tools ethtool iproute2 iptables \
 && rm -rf /var/lib/apt/lists/*
# Apart from udpft, whose start it would slow; see bench/__init__.py.
RUN pip install --target /opt/peers "aioquic>=1.2"
WORKDIR /src
COPY bench bench
HEALTHCHECK NONE
ENTRYPOINT []
# The runner starts what it needs; until then, and between, nothing happens here.
CMD ["sleep", "infinity"]


# The last stage is what a build without --target gives.
FROM tool
