#!/bin/sh
# The last step of a build: byte code, the bill of materials, and the tree that an image is given.
set -eu

# Byte code that names its source by a hash nobody checks: it holds no time, and a read-only root
# couldn't keep what is compiled later. One process, so that the same input gives the same bytes.
# As with pip, a file in a later Python's syntax, of which torch has one, stays as it is.
PYTHONHASHSEED=0 python -m compileall -q -j 1 --invalidation-mode unchecked-hash /opt/rag-router/lib \
    || echo "left uncompiled: what is named above"

mkdir -p /rootfs/opt /rootfs/usr/share/sbom /rootfs/var/lib/rag-router
/tools/bin/cyclonedx-py environment --output-reproducible \
    --output-file /rootfs/usr/share/sbom/rag-router.cdx.json /opt/rag-router/bin/python
mv /opt/rag-router /rootfs/opt/rag-router
# Where the service keeps what it must not lose; a new volume takes over its owner.
chown 10001:10001 /rootfs/var/lib/rag-router
find /rootfs -exec touch --no-dereference --date="@$SOURCE_DATE_EPOCH" {} +
