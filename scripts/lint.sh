#!/usr/bin/env bash
# scripts/lint.sh [--fix] [--build FOLDER] [all]
# Checks formatting, clang-tidy, ruff and mypy, and goes on after a failure so that one run shows everything.
# clang-tidy is slow: it takes the sources that differ from main, or with `all` every source. --fix only formats.
set -uo pipefail
cd "$(dirname "$0")/.."
build=build fix= all=
while [ $# -gt 0 ]; do
  case $1 in
    --fix) fix=1 ;;
    --build) build=$2; shift ;;
    all) all=1 ;;
    *) echo "unknown option $1" >&2; exit 2 ;;
  esac
  shift
done

python=.venv/bin/python
mapfile -t sources < <(git ls-files --cached --others --exclude-standard '*.cpp' '*.h' | sort -u)

if [ -n "$fix" ]; then
  [ ${#sources[@]} = 0 ] || clang-format-14 -i "${sources[@]}"
  $python -m ruff format -q . && $python -m ruff check -q --fix .
  exit
fi

failed=()
formatted() {  # names the files that `make format` would change
  local file status=0
  for file; do
    clang-format-14 "$file" | cmp -s "$file" || { echo "  $file"; status=1; }
  done
  return $status
}
check() {  # check NAME COMMAND...
  echo "== $1"
  "${@:2}" || failed+=("$1")
}
[ ${#sources[@]} = 0 ] || check clang-format formatted "${sources[@]}"
check "ruff format" $python -m ruff format --check --output-format concise .
check ruff $python -m ruff check -q --output-format concise .
# Types of the native module come from the built one.
check "stubs of the native module" $python scripts/print_stubs.py
check mypy $python -m mypy

if [ -n "$all" ]; then
  mapfile -t tidy < <(printf '%s\n' "${sources[@]}" | grep '^src/.*\.cpp$')
else
  mapfile -t tidy < <({ git diff --name-only main -- 'src/*.cpp'; git ls-files --others --exclude-standard 'src/*.cpp'; } |
    while read -r file; do [ -e "$file" ] && echo "$file"; done | sort -u)
fi
# clang does not know gcc's way to compile a part of a file for another processor.
mapfile -t tidy < <(grep -L 'pragma GCC target' "${tidy[@]}" /dev/null | grep -v /dev/null)
if [ ${#tidy[@]} -gt 0 ]; then
  # The commands of the build without gcc's precompiled headers and warnings, which clang cannot read.
  mkdir -p "$build/tidy"
  sed -E 's/ -include [^ "]+cmake_pch\.hxx//g; s/ -(Winvalid-pch|fpch-preprocess|Wno-(restrict|stringop-over(flow|read)))//g' \
    "$build/compile_commands.json" >"$build/tidy/compile_commands.json"
  check clang-tidy sh -c 'printf "%s\n" "$@" | xargs -n 1 -P "$(nproc)" clang-tidy-14 -p "$0" --quiet' \
    "$build/tidy" "${tidy[@]}"
fi

if [ ${#failed[@]} -gt 0 ]; then
  printf -v list '%s, ' "${failed[@]}"
  echo "lint: failed: ${list%, }"
  exit 1
fi
echo "lint: all fine"
