#!/bin/sh
# Fills /opt/ganagerie in a build stage of the Dockerfile: first with packages that are locked, then
# with our own wheel.
set -eu

into=/opt/ganagerie
pip="/tools/bin/pip --python $into/bin/python3 install --no-cache-dir --no-compile --no-deps"

compiled() {  # never compared with the source again, whose times a copy may change
    "$into/bin/python3" -m compileall -q --invalidation-mode unchecked-hash "$into/lib"
}

case "$1" in
locked)
    $pip --only-binary :all: --require-hashes --requirement "$2"
    site=$(echo "$into"/lib/python3.*/site-packages)
    # Not loaded when serving or training; tests/test_image.py holds that nothing of ours names them.
    rm -rf "$site"/onnxruntime/tools "$site"/onnxruntime/transformers \
        "$site"/onnxruntime/quantization "$site"/onnxruntime/datasets
    for package in numpy scipy; do
        find "$site/$package" -name tests -type d -prune -exec rm -rf {} +
    done
    compiled
    ;;
ours)
    $pip --no-index /wheels/*.whl
    compiled
    ;;
*)
    echo "image_packages.sh: $1: must be locked or ours" >&2
    exit 2
    ;;
esac
