#!/usr/bin/env bash
# Builds targets of the Dockerfile without a Docker engine: image_build.sh STORAGE TARGET...
#
# Wants root and buildah; each target becomes the image ganagerie:TARGET in the folder STORAGE.
# The base is the image that PYTHON_IMAGE names, else one made here of Debian's packages with
# debootstrap, which is kept in STORAGE. PIP_CONF and CA_FILE may name the files of the secrets
# that the Dockerfile describes. DEBIAN (bookworm) and DEBIAN_MIRROR are debootstrap's arguments.
set -euo pipefail
cd "$(dirname "$0")/.."

if [ $# -lt 2 ]; then
    echo "usage: image_build.sh STORAGE TARGET..., targets being cpu, gpu and train" >&2
    exit 2
fi
storage=$1
shift
bb() { buildah --storage-driver vfs --root "$storage/root" --runroot "$storage/run" "$@"; }

# As small as the slim images of the registries: no lists of packages, manuals or translations.
make_base() {
    local folder=$storage/debian container
    debootstrap --variant=minbase \
        --include=ca-certificates,python3,python3-venv,python3-distutils,python3-lib2to3 \
        "${DEBIAN:-bookworm}" "$folder" ${DEBIAN_MIRROR:+"$DEBIAN_MIRROR"} >&2
    rm -rf "$folder"/var/cache/apt/* "$folder"/var/lib/apt/lists/* "$folder"/var/log/* \
        "$folder"/usr/share/{doc,man,info,locale}/* "$folder"/debootstrap
    container=$(bb from scratch)
    bb add --quiet "$container" "$folder" / >&2
    bb config --cmd /bin/sh "$container"
    bb commit --quiet --rm "$container" localhost/ganagerie-base >&2
    rm -rf "$folder"
}

if [ -z "${PYTHON_IMAGE:-}" ]; then
    PYTHON_IMAGE=localhost/ganagerie-base
    bb inspect --type image "$PYTHON_IMAGE" >/dev/null 2>&1 || make_base
fi
for target; do
    # The image format of OCI has no health check.
    bb bud --isolation chroot --format docker --layers=false --target "$target" \
        --build-arg "PYTHON_IMAGE=$PYTHON_IMAGE" \
        --build-arg "REVISION=$(git rev-parse HEAD 2>/dev/null || echo unknown)" \
        --build-arg "VERSION=$(sed -n 's/^__version__ = "\(.*\)"$/\1/p' ganagerie/version.py)" \
        ${PIP_CONF:+--secret "id=pip_conf,src=$PIP_CONF"} ${CA_FILE:+--secret "id=ca,src=$CA_FILE"} \
        --tag "ganagerie:$target" . >&2
done
