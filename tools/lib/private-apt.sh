# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=bash
# apt with lists and sources of its own: it takes packages from other suites of the mirror this
# machine already uses, and leaves the machine's own lists as they are. Sourced by other scripts.

private_apt_keyring=/usr/share/keyrings/debian-archive-keyring.gpg

# Prints the codename of this machine's Debian release.
debian_codename() {
    (. /etc/os-release && echo "${VERSION_CODENAME:?this needs Debian 12 or newer}")
}

# Prints the URI of the Debian archive that this machine's own sources name.
debian_mirror() {
    local codename uris uri
    if [[ -n ${PREDSNAP_MIRROR:-} ]]; then
        echo "$PREDSNAP_MIRROR"
        return
    fi
    codename=$(debian_codename)
    uris=$(LC_ALL=C apt-get update --print-uris 2>/dev/null |
        sed -n "s#^'\(.*\)/dists/$codename/\(In\)\?Release' .*#\1#p")
    # Others than Debian publish for its codenames too; Debian's own archive ends in /debian.
    uri=$(grep -m1 '/debian/*$' <<<"$uris" || head -n1 <<<"$uris")
    if [[ -z $uri ]]; then
        echo "no Debian $codename archive in apt's sources; name one in PREDSNAP_MIRROR" >&2
        return 1
    fi
    echo "$uri"
}

# private_apt_init DIR 'deb|deb-src SUITE'...: makes the configuration in DIR, fetches the lists.
private_apt_init() {
    local dir=$1 mirror line type suite
    shift
    mirror=$(debian_mirror)
    mkdir -p "$dir/lists/partial" "$dir/cache/archives/partial"
    for line; do
        read -r type suite <<<"$line"
        echo "$type [signed-by=$private_apt_keyring] $mirror $suite main"
    done >"$dir/sources.list"
    private_apt "$dir" update -qq
}

# private_apt DIR ARGUMENTS...: apt-get with that configuration.
private_apt() {
    local dir=$1
    shift
    apt-get -o Dir::Etc::sourcelist="$dir/sources.list" -o Dir::Etc::sourceparts=/dev/null \
        -o Dir::State::lists="$dir/lists" -o Dir::Cache="$dir/cache" -o APT::Sandbox::User="$(id -un)" "$@"
}
