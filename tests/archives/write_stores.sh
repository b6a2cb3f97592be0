#!/bin/sh
# write_stores.sh FOLDER: write the stores of a release, with the `bitx` that is found first, into a new FOLDER.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
mkdir "$1" && cd "$1"
cp "$here/weights.npz" .
bitx inspect weights.npz -o inspect.h5
bitx prune weights.npz -o pruned.npz --store prune.h5 --masks
bitx simulate weights.npz -a bitx -a dadiannao -o simulate.h5
bitx sweep weights.npz -a bitx --vary rows=4,5 -j 1 -o sweep.h5
rm weights.npz pruned.npz
