#!/usr/bin/env bash
# Builds the image where there is neither a container engine nor a registry, and tries what came out.
#   deploy/build-image.sh [--base IMAGE] [--tag TAG] [--suite bookworm] [--no-smoke]
# Without --base, a base of Debian and its Python is made from a Debian mirror, once.
set -euo pipefail
cd "$(dirname "$0")/.."

base="" tag="apg-bf-tenant-admin:local" suite="bookworm" smoke=1
while [ $# -gt 0 ]; do
    case "$1" in
        --base) base="$2"; shift 2 ;;
        --tag) tag="$2"; shift 2 ;;
        --suite) suite="$2"; shift 2 ;;
        --no-smoke) smoke=0; shift ;;
        *) sed -n '2,4s/^# //p' "$0" >&2; exit 2 ;;
    esac
done

say() { printf '\n== %s\n' "$*"; }

# Installs what is missing of the commands given, each from the Debian package of its name.
need() {
    local missing=() name
    for name in "$@"; do command -v "$name" >/dev/null || missing+=("$name"); done
    [ ${#missing[@]} -eq 0 ] && return
    [ "$(id -u)" -eq 0 ] || { echo "missing: apt-get install ${missing[*]}" >&2; exit 1; }
    say "apt-get install ${missing[*]}"
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
}

# A Debian without its documentation, as the slim images are. Without SOURCE_DATE_EPOCH, under which Debian makes
# bytecode that is checked against its source at each import.
make_base() {
    local archive container
    archive="$(mktemp)"
    env -u SOURCE_DATE_EPOCH mmdebstrap --quiet --variant=minbase --include=ca-certificates,python3,python3-venv \
        --aptopt='Acquire::Languages "none"' \
        --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-include=/usr/share/doc/*/copyright' \
        --dpkgopt='path-exclude=/usr/share/info/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
        --dpkgopt='path-exclude=/usr/share/man/*' "$suite" - >"$archive"
    container="$(buildah from scratch)"
    buildah add --quiet "$container" "$archive" / >/dev/null
    buildah commit --quiet --rm "$container" "$1" >/dev/null
    rm -f "$archive"
}

SOURCE_DATE_EPOCH="${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}"
export SOURCE_DATE_EPOCH
need buildah
if [ -z "$base" ]; then
    base="localhost/apg-bf-base:$suite"
    if ! buildah inspect --type image "$base" >/dev/null 2>&1; then
        need mmdebstrap
        say "base $base"
        time make_base "$base"
    fi
fi

# Who trusts a proxy of their own (as this host's bundle may) trusts it while building too; the image does not.
volumes=()
certificates=/etc/ssl/certs/ca-certificates.crt
[ -r "$certificates" ] && volumes=(--volume "$certificates:$certificates:ro")

say "image $tag from $base"
# chroot: no runtime and no cgroup of its own. docker: the format that has HEALTHCHECK.
time buildah bud --quiet --isolation chroot --network host --format docker --layers \
    "${volumes[@]}" \
    --timestamp "$SOURCE_DATE_EPOCH" \
    --build-arg BASE="$base" \
    --build-arg SOURCE_DATE_EPOCH="$SOURCE_DATE_EPOCH" \
    --build-arg VERSION="$(sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)" \
    --build-arg REVISION="$(git rev-parse HEAD)" \
    --tag "$tag" .
buildah images --format '{{.Name}}:{{.Tag}} {{.Size}}' | grep -E "$(basename "${tag%%:*}")|$(basename "${base%%:*}")"

[ "$smoke" -eq 1 ] || exit 0
need podman runc
make .venv/.synced
say "smoke test"
time IMAGE="localhost/${tag#localhost/}" .venv/bin/python -m pytest deploy/smoke -v
