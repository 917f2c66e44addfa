#!/bin/sh
# Fills /opt/ganagerie in a build stage of the Dockerfile:
#   image_packages.sh training FILE   with the packages that FILE locks
#   image_packages.sh serving FILE    the same, without what no server loads
#   image_packages.sh ours            and with our own wheel, after one of the two
set -eu

into=/opt/ganagerie
site=$(echo "$into"/lib/python3.*/site-packages)
pip="/tools/bin/pip --python $into/bin/python3 install --no-cache-dir --no-compile --no-deps"

# Of scipy a server loads scipy.special; tests/deploy/test_dockerfile.py holds that.
trim() {
    for part in cluster constants datasets differentiate fft fftpack integrate interpolate io \
        linalg misc ndimage odr optimize signal sparse spatial stats; do
        rm -rf "$site/scipy/$part"
    done
    for part in datasets quantization tools transformers; do
        rm -rf "$site/onnxruntime/$part"
    done
}

# Compiled modules are never compared with their sources, whose times a copy may change. Some packages
# bring modules for newer Pythons (torch does), which nobody loads and which cannot be compiled.
compiled() {
    "$into/bin/python3" -m compileall -qq -j 0 --invalidation-mode unchecked-hash "$into/lib" ||
        echo "image_packages.sh: some modules are not for this Python"
}

case "$1" in
training | serving)
    $pip --only-binary :all: --require-hashes --requirement "$2"
    find "$site/numpy" "$site/scipy" -name tests -type d -prune -exec rm -rf {} +
    [ "$1" = training ] || trim
    ;;
ours)
    $pip --no-index /wheels/*.whl
    # With --no-deps nobody has asked yet whether everything is there.
    /tools/bin/pip --python "$into/bin/python3" check
    compiled
    ;;
*)
    echo "image_packages.sh: $1: must be training, serving or ours" >&2
    exit 2
    ;;
esac
