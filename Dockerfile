# The image of neuronetz-gateway: what requirements-production.lock holds and the gateway's own wheel, on slim Python.
# Runs as nobody in particular, on a root that is read-only, with nothing to write but /tmp:
#   docker run --read-only --tmpfs /tmp --cap-drop ALL --security-opt no-new-privileges --env-file .env IMAGE

# For builds that are the same to the byte name the base by its digest: --build-arg BASE=python:3.12-slim@sha256:...
ARG BASE=python:3.12-slim

FROM ${BASE} AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /build
# What changes rarely comes first. Wheels alone: nothing is compiled, and no package runs code of its own here.
COPY requirements-production.lock requirements-build.lock ./
RUN python -m venv --without-pip /opt/gateway \
    && python -m pip --python /opt/gateway/bin/python install --quiet --no-compile --no-deps --only-binary :all: \
        --require-hashes --requirement requirements-production.lock \
    && python -m pip install --quiet --no-deps --only-binary :all: --require-hashes --requirement requirements-build.lock
COPY pyproject.toml README.md LICENSE ./
COPY src src
COPY migrations migrations
# Compiled here, since nothing can be there: by content, so that no clock or copy makes it stale.
RUN python -m pip wheel --quiet --no-deps --no-build-isolation --no-index --wheel-dir dist . \
    && python -m pip --python /opt/gateway/bin/python install --quiet --no-compile --no-deps --no-index dist/*.whl \
    && /opt/gateway/bin/python -m compileall -q --invalidation-mode unchecked-hash /opt/gateway/lib

FROM ${BASE}
ARG VERSION=0.1.0
LABEL org.opencontainers.image.title="neuronetz-gateway" \
      org.opencontainers.image.description="A secure, multi-tenant API gateway in front of Ollama" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.vendor="Stephan Berbig / Neuronetz" \
      org.opencontainers.image.licenses="Apache-2.0"
# The standard library comes without its compiled files, so each start would compile it anew. Nobody installs here.
RUN rm -rf /usr/local/lib/python3.12/site-packages /usr/local/lib/python3.12/ensurepip /usr/local/bin/pip* \
    && python -m compileall -q --invalidation-mode unchecked-hash -x "/(idlelib|lib2to3|turtledemo)/" \
        /usr/local/lib/python3.12
COPY --from=build /opt/gateway /opt/gateway
ENV PATH=/opt/gateway/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    HOME=/nonexistent \
    HOST=0.0.0.0 \
    PORT=8080
# Empty, and not ours to write to: no .env is found here by chance.
WORKDIR /srv
USER 10001:10001
EXPOSE 8080
# Whether the process lives, not whether it is ready: for want of a store nobody should restart it. Of PORT as the
# environment has it; where an env file has another one, give the check of your own.
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python", "-I", "-S", "-c", "import http.client, os, sys; asked = http.client.HTTPConnection('127.0.0.1', int(os.environ.get('PORT') or 8080), timeout=4); asked.request('GET', '/healthz'); sys.exit(asked.getresponse().status != 200)"]
ENTRYPOINT ["neuronetz-gateway"]
CMD ["serve"]
