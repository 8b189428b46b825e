# docker build --tag kdfeatures . && docker run --network none kdfeatures
# The demo of the README, with the versions of constraints.txt; its data are generated, so it runs without a network.
# To keep what it writes: --volume "$PWD/demo:/kdfeatures/demo". An index with torch for CPUs alone, which is far smaller:
# docker build --build-arg PIP_EXTRA_INDEX_URL=INDEX
FROM python:3.11-slim
RUN apt-get update && apt-get install --yes --no-install-recommends make && rm -rf /var/lib/apt/lists/*
WORKDIR /kdfeatures
COPY setup.cfg pyproject.toml constraints.txt README.md LICENSE Makefile ./
COPY conf conf
COPY kdfeatures kdfeatures
ARG PIP_EXTRA_INDEX_URL
RUN make setup
ENV HF_HUB_OFFLINE=1
CMD ["make", "demo"]
