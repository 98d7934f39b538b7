# The rolling router as an image: `make image` builds it, docs/image.md tells how to run it.
# Any base with Debian's tools and Python 3.11 or later will do; with `python3-venv`, where Debian's own Python is in it.
ARG BASE=python:3.11-slim-bookworm

# The first stage has pip, the sources and whatever else a build needs; none of it is in the image.
FROM ${BASE} AS build
# How pip finds packages where the public index cannot be reached; see docs/image.md. They stay in this stage.
ARG PIP_INDEX_URL=""
ARG PIP_EXTRA_INDEX_URL=""
ARG PIP_TRUSTED_HOST=""
ARG PIP_NO_INDEX=""
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
COPY . /source
RUN python3 -m venv /build \
    && mkdir -p /source/build/wheels \
    && PIP_FIND_LINKS=/source/build/wheels /build/bin/pip wheel --quiet --wheel-dir /wheels /source
# The drop-in cache is written here, by root: without it every start would import every plugin anew.
RUN python3 -m venv --without-pip /opt/rolling-router \
    && /build/bin/pip --python /opt/rolling-router/bin/python install --quiet --no-index --find-links /wheels rolling-router \
    && /opt/rolling-router/bin/python -c 'from twisted.plugin import IPlugin, getPlugins; list(getPlugins(IPlugin))' \
    && install /source/image/start /source/image/healthy /opt/rolling-router/

FROM ${BASE}
ARG VERSION=unknown
ARG REVISION=unknown
LABEL org.opencontainers.image.title="rolling-router-sticky-sessions" \
      org.opencontainers.image.description="Exact, sticky, weighted routing between two versions of a web application" \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"

# A number of its own, and always the same one, so that volumes can be prepared for it.
RUN groupadd --gid 10080 router \
    && useradd --uid 10080 --gid router --no-log-init --home-dir /var/lib/rolling-router --create-home \
       --shell /usr/sbin/nologin router
COPY --from=build /opt/rolling-router /opt/rolling-router

# The settings port listens on all of the container's addresses: loopback's would be out of everybody's reach, and who
# may reach this one is said where it is published.
# Draining ends before the ten seconds are over after which `docker stop` kills.
ENV PATH=/opt/rolling-router/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    ROLLING_ROUTER_LISTEN=tcp:80 \
    ROLLING_ROUTER_ADMIN=tcp:8080 \
    ROLLING_ROUTER_STATE_DIR=/var/lib/rolling-router \
    ROLLING_ROUTER_DRAIN_SECONDS=8
WORKDIR /var/lib/rolling-router
EXPOSE 80 8080
HEALTHCHECK --interval=10s --timeout=5s --start-period=20s --retries=3 CMD ["/opt/rolling-router/healthy"]

# No USER: `start` takes port 80 as root and goes on as `router`; the file says why.
ENTRYPOINT ["/opt/rolling-router/start"]
CMD []
