#!/usr/bin/env bash
# Makes every image of the topology and prints the variables that name them, one NAME=IMAGE a line.
#
#   docker/images.sh           builds what is missing
#   docker/images.sh --check   builds nothing, and fails when something is missing
#
# Where a registry answers, PostgreSQL, Redis, Traefik and Python are the plan's own images. Where
# none does, they are built here: Debian by debootstrap, its packages, the toolbox's Traefik. The
# servers of Build 1 are always built here. A tag is the fingerprint of all that an image is made
# of, so a stale one is never taken.
set -euo pipefail
cd "$(dirname "$0")/.."

suite=bookworm
mirror=http://deb.debian.org/debian
target=$(rustc -vV | sed -n "s/^host: //p")
servers=(architect contract-engine codebase-intelligence)
# What the services of Build 2 import, and what redis wants on Debian's Python; the versions are
# those of the toolbox.
packages=(argon2-cffi async-timeout asyncpg fastapi httpx pydantic PyJWT redis 'SQLAlchemy[asyncio]' starlette uvicorn)
work=target/images
log=$work/build.log
mkdir -p "$work"
: >"$log"

fail() { printf 'docker/images.sh: %s\n' "$*" >&2; exit 1; }
say() { printf '%s\n' "$*" >&2; }
is_there() { docker image inspect "$1" >/dev/null 2>&1; }

# The fingerprint of words and files: of a file counts the content, of anything else the word.
fingerprint() {
    for part in "$@"; do
        if [ -f "$part" ]; then sha256sum <"$part"; else printf '%s\n' "$part"; fi
    done | sha256sum | cut -c1-16
}

# built TAG: true when it is there; fails when it is not and nothing may be built.
built() {
    if is_there "$1"; then return 0; fi
    [ "$mode" = build ] || fail "$1 is not built; run docker/images.sh"
    say "building ${1%%:*}"
    return 1
}

# Runs quietly; what was said is shown when it fails.
quietly() {
    "$@" >>"$log" 2>&1 || { tail -n 30 "$log" >&2; fail "failed: $*; all of it is in $log"; }
}

# docker_build TAG DOCKERFILE CONTEXT [ARGUMENT…]
docker_build() {
    local tag=$1 file=$2 context=$3
    shift 3
    DOCKER_BUILDKIT=0 quietly docker build --quiet --tag "$tag" --file "$file" "$@" "$context"
}

# A context with just these files, so that the engine is sent no more.
context() {
    rm -rf "$work/context"
    mkdir -p "$work/context"
    cp -r "$@" "$work/context"
}

has_toolbox() {
    [ -x .run4/toolbox/bin/traefik ] || fail "there is no toolbox; make it with \`cargo run4 doctor\`"
}

base() {
    local include=ca-certificates
    base="run4/debian:$(fingerprint "$suite" "$include")"
    if built "$base"; then return; fi
    [ "$(id -u)" = 0 ] || fail "debootstrap needs root; run it as root once, or give the images by variables"
    command -v debootstrap >/dev/null || quietly apt-get install -y debootstrap
    local root
    root=$(mktemp -d)
    quietly debootstrap --variant=minbase --include="$include" "$suite" "$root" "$mirror"
    rm -rf "$root"/var/cache/apt/archives/*.deb "$root"/var/lib/apt/lists/*
    tar -C "$root" -c . | docker import - "$base" >>"$log"
    rm -rf "$root"
}

postgres() {
    postgres="run4/postgres:$(fingerprint "$base" docker/postgres/Dockerfile docker/postgres/entrypoint.sh)"
    if built "$postgres"; then return; fi
    docker_build "$postgres" docker/postgres/Dockerfile docker/postgres --build-arg "BASE=$base"
}

redis() {
    redis="run4/redis:$(fingerprint "$base" docker/redis/Dockerfile docker/redis/entrypoint.sh)"
    if built "$redis"; then return; fi
    docker_build "$redis" docker/redis/Dockerfile docker/redis --build-arg "BASE=$base"
}

python() {
    python="run4/python:$(fingerprint "$base" docker/python/Dockerfile fixtures/toolbox/requirements.txt "${packages[*]}")"
    if built "$python"; then return; fi
    # A constraint has no hashes. The wheels are those of Debian's Python, whatever runs here.
    grep -Eo '^[A-Za-z0-9_.-]+(\[[a-z]+\])?==[^ \\]+' fixtures/toolbox/requirements.txt |
        sed 's/\[[a-z]*\]//' >"$work/constraints.txt"
    has_toolbox
    rm -rf "$work/wheels"
    quietly .run4/toolbox/bin/python -m pip download --quiet --dest "$work/wheels" --only-binary=:all: --python-version 3.11 \
        --platform "manylinux2014_$(uname -m)" --platform "manylinux_2_28_$(uname -m)" --platform any \
        --constraint "$work/constraints.txt" "${packages[@]}"
    context "$work/wheels"
    docker_build "$python" docker/python/Dockerfile "$work/context" --build-arg "BASE=$base"
}

traefik() {
    has_toolbox
    local program=.run4/toolbox/bin/traefik
    traefik="run4/traefik:$(fingerprint docker/traefik/Dockerfile "$program")"
    if built "$traefik"; then return; fi
    context "$program"
    docker_build "$traefik" docker/traefik/Dockerfile "$work/context"
}

# The servers, static, so that they need no base at all.
compile() {
    local bins=()
    for server in "${servers[@]}"; do bins+=(--bin "$server"); done
    say "compiling the servers of Build 1"
    # A target that is named, even this machine's own, keeps these flags from build scripts.
    RUSTFLAGS="-C target-feature=+crt-static -C strip=symbols" \
        quietly cargo build --release --target "$target" "${bins[@]}"
    mkdir -p "$work/bin"
    for server in "${servers[@]}"; do cp "target/$target/release/$server" "$work/bin/"; done
}

server() {
    local name=$1 binary=$work/bin/$1
    [ -f "$binary" ] || fail "$binary is not built; run docker/images.sh"
    image="super-team/$name:$(fingerprint "docker/$name/Dockerfile" "$binary")"
    if built "$image"; then return; fi
    docker_build "$image" "docker/$name/Dockerfile" .
}

mode=build
case "${1:-}" in
'') ;;
--check) mode=check ;;
*) fail "unknown argument $1; see the head of this file" ;;
esac
docker info >/dev/null 2>&1 || fail "no docker engine answers; start one, or use the process substrate"

# Beside the downloads: one needs the processor, the other the network.
compiling=
if [ "$mode" = build ]; then
    compile &
    compiling=$!
fi

if [ -z "${RUN4_NO_REGISTRY:-}" ] && timeout 60 docker pull --quiet postgres:16-alpine >>"$log" 2>&1; then
    for image in redis:7-alpine traefik:v3.6 python:3.12-slim; do quietly docker pull --quiet "$image"; done
    postgres=postgres:16-alpine redis=redis:7-alpine traefik=traefik:v3.6 python=python:3.12-slim
else
    base
    postgres
    redis
    python
    traefik
fi
printf 'POSTGRES_IMAGE=%s\nREDIS_IMAGE=%s\nTRAEFIK_IMAGE=%s\nPYTHON_IMAGE=%s\n' \
    "$postgres" "$redis" "$traefik" "$python"
[ -z "$compiling" ] || wait "$compiling"
for name in "${servers[@]}"; do
    server "$name"
    variable=${name//-/_}
    printf '%s_IMAGE=%s\n' "${variable^^}" "$image"
done
