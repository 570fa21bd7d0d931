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
    local install=(env DEBIAN_FRONTEND=noninteractive apt-get install -qq -y
        --no-install-recommends "${missing[@]}")
    local log
    log=$(mktemp)
    as_root "${install[@]}" >"$log" 2>&1 </dev/null ||
        { as_root apt-get update -qq && as_root "${install[@]}"; } >"$log" 2>&1 </dev/null || {
        tail -n 20 "$log" >&2
        rm -f "$log"
        die "apt-get could not install ${missing[*]}" \
            "look at the lines above; the package lists or the network may be at fault"
    }
    rm -f "$log"
}
