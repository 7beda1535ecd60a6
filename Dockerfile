# One image for every role: `holdfast up` with its own servers, or `api`, `worker` and `migrate` beside real ones.
FROM python:3.13-slim

# A named account: the embedded Postgres refuses root and accounts without a name.
RUN useradd --uid 10001 --create-home --home-dir /home/holdfast holdfast \
    && install -d -o holdfast -g holdfast -m 0700 /data

WORKDIR /opt/holdfast
COPY pyproject.toml requirements.lock README.md ./
COPY engine engine
COPY lua lua
COPY persistence persistence
COPY inventory inventory
COPY worker worker
COPY api api
COPY runtime runtime
COPY holdfast_client holdfast_client
RUN pip install --no-cache-dir --disable-pip-version-check -c requirements.lock .

USER holdfast
WORKDIR /home/holdfast
ENV HOLDFAST_HOST=0.0.0.0 \
    HOLDFAST_DATA_DIR=/data \
    HOLDFAST_LOG_FORMAT=json
VOLUME /data
EXPOSE 8000
ENTRYPOINT ["holdfast"]
CMD ["up"]
