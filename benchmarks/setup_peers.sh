#!/bin/sh
# Install the programs that the benchmarks compare with, each into an environment of its own beside this file:
#
#     benchmarks/setup_peers.sh                  # all of them (with PyTorch about 6 GB each)
#     benchmarks/setup_peers.sh ultralytics smp  # only these
#
# They get the torch that Striate's own environment has, so that a ratio compares programs and not versions of torch.
# Nothing of Striate imports them. What is installed is left alone; remove benchmarks/.peers to begin anew.
set -eu
cd "$(dirname "$0")/.."
python=.venv/bin/python
[ -x "$python" ] || { echo "no .venv: type make test first" >&2; exit 2; }

versions=$("$python" -c '
from importlib.metadata import version
print(*(f"{name}=={version(name)}" for name in ("torch", "torchvision", "numpy")))')
[ $# -gt 0 ] || set -- ultralytics smp fastai libreyolo

for peer in "$@"; do
  case $peer in
    ultralytics) wanted="ultralytics" ;;                          # AGPL-3.0: run as an outside program, unmodified
    smp) wanted="segmentation-models-pytorch Pillow" ;;           # MIT
    fastai) wanted="fastai" ;;                                    # Apache-2.0
    libreyolo) wanted="libreyolo" ;;                              # MIT
    *) echo "$peer: unknown; known: ultralytics smp fastai libreyolo" >&2; exit 2 ;;
  esac
  place=benchmarks/.peers/$peer
  [ -e "$place/installed" ] && { echo "$peer: installed already"; continue; }
  echo "$peer: installing $wanted with $versions"
  rm -rf "$place"
  "$python" -m venv "$place"
  # shellcheck disable=SC2086  # several words are meant
  "$place/bin/python" -m pip install --quiet --disable-pip-version-check $wanted $versions
  "$place/bin/python" -m pip freeze --disable-pip-version-check >"$place/installed"
done
