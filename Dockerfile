# docker build -t querywright --build-arg TORCH_INDEX=ADDRESS .
# docker build -t querywright:gpu --build-arg DEVICE=gpu .
ARG PYTHON=3.11-slim-bookworm

FROM python:${PYTHON} AS build
# cpu or gpu: where vectors are scanned.
ARG DEVICE=cpu
# The address of torch's index of CPU builds makes the image small; the plain index gives a torch of several GB.
ARG TORCH_INDEX=
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ONLY_BINARY=:all:
RUN python -m venv --without-pip /opt/querywright
WORKDIR /src
COPY constraints.txt ./
RUN PIP_INDEX_URL="${TORCH_INDEX}" pip --python /opt/querywright install --constraint constraints.txt torch
COPY pyproject.toml README.md LICENSE __init__.py py.typed ./
COPY rewrite rewrite
COPY retrieval retrieval
COPY service service
COPY eval eval
COPY data data
RUN pip --python /opt/querywright install --constraint constraints.txt ".[${DEVICE},offline,llm,otel]"

FROM python:${PYTHON}
RUN useradd --system --uid 10001 --user-group --home-dir /data --shell /usr/sbin/nologin querywright \
    && install --directory --owner=querywright --group=querywright /data
COPY --from=build /opt/querywright /opt/querywright
# ONNX Runtime would tell its makers what runs.
ENV PATH=/opt/querywright/bin:$PATH \
    ORT_DISABLE_TELEMETRY=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    QUERYWRIGHT_HOME=/data \
    QUERYWRIGHT_LOG_FORMAT=json
USER 10001:10001
VOLUME /data
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=60s --retries=3 \
    CMD ["python", "-c", "from urllib.request import urlopen; urlopen('http://127.0.0.1:8000/healthz', timeout=2)"]
ENTRYPOINT ["querywright"]
CMD ["serve", "--host", "0.0.0.0", "--port", "8000"]
