#!/usr/bin/env bash
# scripts/sanitize.sh [FILTER]: builds the C++ tests with gcc's checks of memory and of undefined behaviour, in build-sanitize,
# and runs them (FILTER: as --gtest_filter). The first error ends its part of the tests and is printed with its line.
# SORUS_SANITIZE_MINUTES: where time is short (.ci/run), what is not done by then is left out, and the last line says so.
set -euo pipefail
cd "$(dirname "$0")/.."
filter=${1:-*}
parts=$(nproc)
minutes=${SORUS_SANITIZE_MINUTES:-0}
deadline=$((SECONDS + minutes * 60))
within() {  # a command, ended at the deadline with status 124
  [ "$minutes" = 0 ] && { "$@"; return; }
  local left=$((deadline - SECONDS))
  [ $left -gt 0 ] || return 124
  timeout --kill-after=10 $left "$@"
}

mkdir -p build-sanitize
log=build-sanitize/configure.log
cmake -S . -B build-sanitize -G Ninja -DCMAKE_BUILD_TYPE=Release -DSORUS_SANITIZE=ON -DSORUS_PYTHON=OFF >$log 2>&1 || {
  cat $log
  exit 1
}
status=0
within cmake --build build-sanitize --target sorus_tests || status=$?
if [ $status = 124 ]; then
  echo "sanitizers: NOT RUN: the build was not done after $minutes minutes"
  exit 0
fi
[ $status = 0 ] || exit $status

# Leaks are not looked for: what lives as long as the process (registries, pools of threads) would be listed.
export ASAN_OPTIONS=detect_leaks=0:detect_stack_use_after_return=0:allocator_may_return_null=1
export UBSAN_OPTIONS=print_stacktrace=1
export OMP_WAIT_POLICY=passive SORUS_BUILD=$PWD/build-sanitize
echo "== sanitizers: running the C++ tests in $parts parts"
pids=()
for ((i = 0; i < parts; ++i)); do
  GTEST_TOTAL_SHARDS=$parts GTEST_SHARD_INDEX=$i within build-sanitize/sorus_tests --gtest_filter="$filter" \
    --gtest_brief=1 >"build-sanitize/part$i.log" 2>&1 &
  pids+=($!)
done
failed=0
cut=0
for ((i = 0; i < parts; ++i)); do
  status=0
  wait "${pids[$i]}" || status=$?
  if [ $status = 124 ]; then
    cut=1
  elif [ $status != 0 ]; then
    failed=1
    grep -vE '^\[  SKIPPED' "build-sanitize/part$i.log" | tail -60
  fi
done
cat build-sanitize/part*.log | grep -E '^\[  PASSED  \]|tests? ran' || true
[ $cut = 0 ] || echo "sanitizers: CUT SHORT after $minutes minutes: some tests were not run"
[ $failed = 0 ] && echo "sanitizers: nothing found"
exit $failed
