# Shared by the scripts beside it; sourced, not run.
# shellcheck shell=bash

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cache=${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/otel-ebpf
export root cache

say() { printf '%s: %s\n' "${0##*/}" "$*" >&2; }

# die WHAT MEND: what is wrong and the command that mends it.
die() {
    printf '%s: %s\n  mend: %s\n' "${0##*/}" "$1" "$2" >&2
    exit 1
}

as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    else
        sudo "$@"
    fi
}

# try_again COMMAND...: up to three times, for what the network may spoil; 10 s in between.
try_again() {
    local left
    for left in 2 1 0; do
        "$@" && return 0
        [ "$left" = 0 ] || { say "trying again: $1"; sleep 10; }
    done
    return 1
}

# need_packages PACKAGE...: install those that are missing; say which and why it cannot be done.
need_packages() {
    local missing=() package
    for package in "$@"; do
        dpkg-query -W -f '${db:Status-Status}\n' "$package" 2>/dev/null | grep -qx installed ||
            missing+=("$package")
    done
    [ ${#missing[@]} -gt 0 ] || return 0
    command -v apt-get >/dev/null ||
        die "these packages are needed and this is not a Debian or Ubuntu: ${missing[*]}" \
            "install your distribution's packages of the same purpose, then run this again"
    if [ "$(id -u)" != 0 ] && ! command -v sudo >/dev/null; then
        die "packages are missing and this user cannot install them: ${missing[*]}" \
            "as root, apt-get install ${missing[*]}"
    fi
    say "installing ${missing[*]} (apt-get)"
    # A fresh machine has no package lists, an old one may have stale ones: refresh only then.
    # Another installation may be running, and a mirror may fail for a moment.
    local apt=(env DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=300
        -o Acquire::Retries=3)
    local install=("${apt[@]}" install -y --no-install-recommends "${missing[@]}")
    local log
    log=$(mktemp)
    as_root "${install[@]}" >"$log" 2>&1 </dev/null ||
        { as_root "${apt[@]}" update && as_root "${install[@]}"; } >"$log" 2>&1 </dev/null ||
        { sleep 10 && as_root "${apt[@]}" update && as_root "${install[@]}"; } >"$log" 2>&1 </dev/null || {
        tail -n 20 "$log" >&2
        rm -f "$log"
        die "apt-get could not install ${missing[*]}" \
            "look at the lines above; the package lists or the network may be at fault"
    }
    rm -f "$log"
}
