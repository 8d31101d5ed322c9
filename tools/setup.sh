#!/usr/bin/env bash
# Installs what the build needs and this machine lacks: Debian 12 and Ubuntu 24.04, as root or with sudo.
# Other systems: prints what to install and exits with status 1.
set -euo pipefail

packages=(
  g++ make cmake ninja-build pkg-config python3 clang-format-14
  libopenblas-openmp-dev libspdlog-dev libfmt-dev libyaml-cpp-dev libcli11-dev nlohmann-json3-dev
  libpng-dev libcairo2-dev libopenmpi-dev openmpi-bin
  libgtest-dev libgmock-dev libbenchmark-dev
)

is_known_system() {
  [ -r /etc/os-release ] || return 1
  # shellcheck source=/dev/null
  (. /etc/os-release; case "${ID:-}:${VERSION_ID:-}" in debian:12 | ubuntu:24.04) exit 0 ;; *) exit 1 ;; esac)
}

missing_packages() {
  local package status
  for package in "${packages[@]}"; do
    status=$(dpkg-query -W -f '${db:Status-Abbrev}' "$package" 2>/dev/null || true)
    [ "${status:0:2}" = ii ] || echo "$package"
  done
}

# On another system the build may still go through: what counts is that the tools are there.
has_build_tools() {
  command -v cmake >/dev/null && command -v ninja >/dev/null && command -v c++ >/dev/null
}

if ! is_known_system; then
  {
    echo "setup: this script installs packages on Debian 12 and Ubuntu 24.04; on this system install by hand:"
    echo "  a C++20 compiler (GCC 12 or newer), cmake 3.22+, ninja, make, python3, pkg-config, clang-format 14"
    echo "  OpenBLAS (OpenMP build), spdlog, fmt, yaml-cpp, CLI11, nlohmann-json, libpng, cairo, Open MPI (optional), GoogleTest, Google Benchmark"
    echo "  (Debian names: ${packages[*]})"
    if has_build_tools; then
      echo "setup: then build with: cmake --preset cpu && cmake --build --preset cpu && ctest --preset cpu"
    fi
  } >&2
  exit 1
fi

mapfile -t missing < <(missing_packages)
if [ ${#missing[@]} -eq 0 ]; then
  exit 0
fi

as_root=()
if [ "$(id -u)" -ne 0 ]; then
  if ! command -v sudo >/dev/null; then
    echo "setup: these packages are missing: ${missing[*]}" >&2
    echo "setup: run as root, or install sudo, or ask for: apt-get install ${missing[*]}" >&2
    exit 1
  fi
  as_root=(sudo)
fi

echo "setup: installing ${missing[*]}" >&2
install=("${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}")
# The package lists are fetched only when the ones on the machine do not do.
if ! "${install[@]}" >/dev/null 2>&1; then
  "${as_root[@]}" apt-get update -qq
  "${install[@]}" >/dev/null
fi
