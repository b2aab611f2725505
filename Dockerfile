# The demo in a container, on CPUs:
#
#   docker build -t linkbert . && docker run --name demo linkbert
#   docker cp demo:/home/linkbert/linkbert-demo/demo.html .
#
# Never built by us, for want of docker: read, linted (hadolint), and compared with README and tree by a test.
FROM python:3.11-slim

ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
ENV PIP_EXTRA_INDEX_URL=$TORCH_INDEX PIP_NO_CACHE_DIR=1 PYTHONUNBUFFERED=1

RUN useradd --create-home --uid 1000 linkbert
WORKDIR /opt/linkbert
COPY constraints.txt pyproject.toml README.md LICENSE ./
COPY src ./src
# README's first command. The index's own build (2.x+cpu) is preferred to PyPI's, which brings CUDA.
RUN pip install -c constraints.txt .

USER 1000
WORKDIR /home/linkbert
CMD ["linkbert", "demo"]
