#!/usr/bin/env bash
# Installs the clients of the contract suites into .local/ (git-ignored), each at the version pinned beside this script.
# Running it again costs nothing unless a pin or an interpreter changed. Deliberately absent: anything global, except
# that a missing Node is installed with apt when this runs as root.
#
#   tests/contract/setup.sh [python|node]     both without an argument
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
mkdir -p "${GREENROOM_LOCAL:-$root/.local}"
local_dir=$(cd "${GREENROOM_LOCAL:-$root/.local}" && pwd)
wanted=${1:-all}

say() { printf 'contract setup: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }

# quietly <command …>: its output is shown only when it fails, and then ends this script.
quietly() {
    local log=$local_dir/contract-setup.log
    "$@" >"$log" 2>&1 && return 0
    tail -n 40 "$log" >&2
    die "'$*' failed"
}

# fingerprint <file> <interpreter version>: what the installed state must match.
fingerprint() { printf '%s %s' "$(cksum <"$1")" "$2"; }

# Two test programs may call this at once: the second waits for the first.
lock_install() {
    if command -v flock >/dev/null; then
        exec 9>"$local_dir/contract-setup.lock"
        flock -w 900 9 || die "another setup has been running for 15 minutes"
    fi
}

setup_python() {
    command -v python3 >/dev/null || die "python3 is missing; install Python 3.10 or newer"
    python3 -c 'import sys; sys.exit(sys.version_info < (3, 10))' || die "Python 3.10 or newer is needed"
    local target=$local_dir/python stamp want
    stamp=$target/.contract-stamp
    want=$(fingerprint "$here/requirements.txt" "$(python3 --version)")
    [ "$(cat "$stamp" 2>/dev/null)" = "$want" ] && return 0
    python3 -m pip --version >/dev/null 2>&1 || die "pip is missing; install it (Debian: python3-pip)"
    say "installing Python clients into $target"
    # Built aside and moved into place, so that an interrupted install is never taken for a finished one.
    local fresh=$local_dir/python.new
    rm -rf "$fresh"
    # pip complains of packages elsewhere on the machine that these here do not touch: shown only on failure.
    quietly python3 -m pip install --disable-pip-version-check --target "$fresh" --requirement "$here/requirements.txt"
    printf '%s' "$want" >"$fresh/.contract-stamp"
    rm -rf "$target"
    mv "$fresh" "$target"
}

node_is_new_enough() {
    command -v node >/dev/null && command -v npm >/dev/null &&
        [ "$(node -p 'Number(process.versions.node.split(".")[0]) >= 20')" = true ]
}

ensure_node() {
    node_is_new_enough && return 0
    local advice="Node 20 or newer with npm is needed: install it and run this again"
    [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null || die "$advice"
    say "installing Node with apt"
    quietly apt-get update
    DEBIAN_FRONTEND=noninteractive quietly apt-get install -y nodejs npm
    node_is_new_enough || die "apt offers an older Node; $advice"
}

setup_node() {
    ensure_node
    local target=$local_dir/node stamp want
    stamp=$target/.contract-stamp
    want=$(fingerprint "$here/package.json" "$(node --version)")
    if [ "$(cat "$stamp" 2>/dev/null)" != "$want" ]; then
        say "installing Node clients into $target"
        local fresh=$local_dir/node.new
        rm -rf "$fresh"
        mkdir -p "$fresh"
        cp "$here/package.json" "$fresh/package.json"
        quietly npm install --prefix "$fresh" --no-audit --no-fund --no-package-lock
        printf '%s' "$want" >"$fresh/.contract-stamp"
        rm -rf "$target"
        mv "$fresh" "$target"
    fi
    # ES modules look for packages only beside themselves and in the folders above.
    ln -sfn "$target/node_modules" "$here/node_modules"
}

lock_install
case $wanted in
all)
    setup_python
    setup_node
    ;;
python) setup_python ;;
node) setup_node ;;
*) die "unknown argument '$wanted'; say python, node or nothing" ;;
esac
