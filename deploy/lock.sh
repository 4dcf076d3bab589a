#!/usr/bin/env bash
# Writes deploy/locked anew: every package that `make install` and the image take from PyPI, with its version and the hashes of its
# files, for every Python and processor. build.txt has what builds tcptrace itself, and is gone again when it is built.

set -euo pipefail
cd "$(dirname "$0")/.."

readonly BIN=.venv/bin
readonly OPTIONS=(--quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate --no-emit-index-url)

"$BIN/uv" pip compile "${OPTIONS[@]}" "$@" pyproject.toml --output-file deploy/locked/requirements.txt
"$BIN/python" -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["build-system"]["requires"], sep="\n")' |
	"$BIN/uv" pip compile "${OPTIONS[@]}" "$@" - --output-file deploy/locked/build.txt
