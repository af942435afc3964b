#!/usr/bin/env bash
# Brings a machine to where Sorus builds: Debian packages, then the Python environment .venv. Each step looks first
# whether there is anything to do, so that a second run costs a fraction of a second.
#
#   scripts/setup.sh          to build, run and test
#   scripts/setup.sh lint     the tools of `make lint` and `make format` as well
#   scripts/setup.sh fuzz     the compiler of `make fuzz`
#   scripts/setup.sh device   the compilers and emulators of `sorus codegen --verify`; without them `make test` skips
#                             what runs on other processors
#   scripts/setup.sh peers    the frameworks that `make bench` compares with, in an environment of their own; nothing if
#                             SORUS_PEERS names one that is there already
set -euo pipefail
cd "$(dirname "$0")/.."

packages=(g++ cmake ninja-build ccache pkg-config python3-dev python3-venv
  libdnnl-dev ocl-icd-opencl-dev libfmt-dev nlohmann-json3-dev libpcre2-dev zlib1g-dev
  libopenmpi-dev openmpi-bin libgtest-dev librapidcheck-dev libbenchmark-dev)
lint_packages=(clang-format-14 clang-tidy-14 libomp-14-dev)
# The C libraries of the cross compilers are only recommended by them.
device_packages=(gcc-arm-none-eabi libnewlib-arm-none-eabi qemu-system-arm qemu-user clang
  gcc-aarch64-linux-gnu libc6-dev-arm64-cross gcc-arm-linux-gnueabihf libc6-dev-armhf-cross
  gcc-riscv64-linux-gnu libc6-dev-riscv64-cross)

say() { printf 'setup: %s\n' "$*" >&2; }

# Once, when an environment is made: what is left out and how to get it.
say_what_is_left_out() {
  local tool
  for tool in arm-none-eabi-gcc qemu-system-arm aarch64-linux-gnu-gcc arm-linux-gnueabihf-gcc; do
    command -v "$tool" >/dev/null && continue
    say "$tool is not here: tests of generated C on other processors will be skipped (scripts/setup.sh device)"
    return
  done
}

install_packages() {
  if ! command -v dpkg-query >/dev/null; then
    say "not a Debian system; taken as installed: $*"
    return
  fi
  local present missing
  present=$(dpkg-query -W -f='${Package} ${db:Status-Status}\n' "$@" 2>/dev/null | awk '$2 == "installed" {print $1}' || true)
  missing=$(comm -23 <(printf '%s\n' "$@" | sort -u) <(sort -u <<<"$present"))
  [ -n "$missing" ] || return 0
  say "installing Debian packages:" $missing
  local root=()
  if [ "$(id -u)" != 0 ]; then
    command -v sudo >/dev/null || { say "this needs root or sudo; as root: apt-get install" $missing; exit 1; }
    root=(sudo)
  fi
  "${root[@]}" apt-get update -q
  "${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends $missing
}

# A Python that can make environments and has its headers: the one on the path or else the system's.
find_python() {
  local python
  for python in ${PYTHON:-} python3 /usr/bin/python3; do
    if "$python" -c 'import ensurepip, os, sys, sysconfig
sys.exit(sys.version_info < (3, 11) or not os.path.exists(sysconfig.get_path("include") + "/Python.h"))' 2>/dev/null; then
      echo "$python"
      return
    fi
  done
  say "no Python 3.11 or newer with venv and its headers; say which with PYTHON=..."
  exit 1
}

# Installs a requirements file into an environment unless the stamp says that just this file is in it.
install_requirements() {
  local environment=$1 requirements=$2 stamp
  if [ ! -x "$environment/bin/python" ]; then
    local python
    python=$(find_python)
    say "making $environment with $("$python" --version)"
    "$python" -m venv --clear "$environment"
  fi
  stamp=$environment/.$(basename "$requirements")-$(sha256sum "$requirements" | cut -c1-16)
  [ ! -e "$stamp" ] || return 0
  say "installing $requirements into $environment"
  "$environment/bin/python" -m pip install -q --disable-pip-version-check -r "$requirements"
  rm -f "$environment/.$(basename "$requirements")"-*
  touch "$stamp"
}

# `import sorus` and the command `sorus` work from the source tree: nothing is installed again after a build.
link_project() {
  local environment=$1 packages
  packages=$(echo "$environment"/lib/python3.*/site-packages)
  local path=$PWD/python
  [ "$(cat "$packages/sorus.pth" 2>/dev/null)" = "$path" ] || echo "$path" >"$packages/sorus.pth"
  [ ! -x "$environment/bin/sorus" ] || return 0
  cat >"$environment/bin/sorus" <<SCRIPT
#!$PWD/$environment/bin/python
import sys
from sorus.cli import main
sys.exit(main())
SCRIPT
  chmod +x "$environment/bin/sorus"
}

case ${1:-build} in
  build)
    install_packages "${packages[@]}"
    [ -e .venv/bin/sorus ] || say_what_is_left_out
    install_requirements .venv scripts/requirements.txt
    link_project .venv
    ;;
  lint)
    install_packages "${packages[@]}" "${lint_packages[@]}"
    install_requirements .venv scripts/requirements.txt
    install_requirements .venv scripts/requirements-lint.txt
    link_project .venv
    ;;
  fuzz)
    install_packages "${packages[@]}" clang-14 libclang-rt-14-dev libomp-14-dev
    ;;
  device)
    install_packages "${device_packages[@]}"
    ;;
  peers)
    if [ -n "${SORUS_PEERS:-}" ]; then
      say "using the peers of SORUS_PEERS=$SORUS_PEERS"
      exit 0
    fi
    install_requirements .peers benchmarks/requirements.txt
    ;;
  *)
    say "unknown part: $1 (build, lint, fuzz, device or peers)"
    exit 2
    ;;
esac
