# Sourced by ./check and ./demo: what must be installed, and how (Debian and its kin).

build_packages="gcc libc6-dev cmake ninja-build pkg-config libjansson-dev libpng-dev libjpeg-dev zlib1g-dev libzip-dev libarchive-dev libwebp-dev libutf8proc-dev liblapacke-dev"
check_packages="g++ libcmocka-dev clang clang-format clang-tidy locales abigail-tools openmpi-bin libopenmpi-dev mpich libmpich-dev"
python_packages="python3 python3-venv"
demo_packages="dataset-fashion-mnist"
words_packages="python3"

is_installed() {
    [ "$(dpkg-query -W -f='${db:Status-Status}' "$1" 2>/dev/null)" = installed ]
}

# install_packages PACKAGE...: those that are missing, saying which; asks sudo where needed. Does nothing, and
# does not call apt, when all are there.
install_packages() {
    command -v dpkg-query >/dev/null || { echo "not a Debian system; this needs: $*"; return 0; }
    missing=()
    for package in "$@"; do is_installed "$package" || missing+=("$package"); done
    [ ${#missing[@]} -eq 0 ] && return 0
    echo "installing ${missing[*]}"
    local root=()
    if [ "$(id -u)" -ne 0 ]; then
        command -v sudo >/dev/null || { echo "become root or install sudo, then run this again" >&2; return 1; }
        root=(sudo)
    fi
    "${root[@]}" apt-get update -qq || return 1
    "${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" \
        >/dev/null || { echo "apt-get could not install them" >&2; return 1; }
}
