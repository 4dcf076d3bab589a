#!/bin/sh
# Installs tcptrace, and what is locked here, into an environment: install.sh PYTHON, in the checkout. Nothing is taken whose hash is
# not in the lock. What builds tcptrace is put aside for as long as that takes.

set -eu
python=$1
place=$(dirname "$0")
builders=$(mktemp -d)
trap 'rm -rf "$builders"' EXIT
pip() { "$python" -m pip --quiet --disable-pip-version-check --no-cache-dir "$@"; }

pip install --require-hashes --only-binary :all: --requirement "$place/requirements.txt"
pip install --require-hashes --only-binary :all: --requirement "$place/build.txt" --target "$builders"
PYTHONPATH=$builders pip install --no-deps --no-build-isolation .
