#!/usr/bin/env bash
# scripts/sanitize.sh [FILTER]: builds the C++ tests with gcc's checks of memory and of undefined behaviour, in build-sanitize,
# and runs them (FILTER: as --gtest_filter). The first error ends its part of the tests and is printed with its line.
set -euo pipefail
cd "$(dirname "$0")/.."
filter=${1:-*}
parts=$(nproc)

mkdir -p build-sanitize
log=build-sanitize/configure.log
cmake -S . -B build-sanitize -G Ninja -DCMAKE_BUILD_TYPE=Release -DSORUS_SANITIZE=ON -DSORUS_PYTHON=OFF >$log 2>&1 || {
  cat $log
  exit 1
}
cmake --build build-sanitize --target sorus_tests

# Leaks are not looked for: what lives as long as the process (registries, pools of threads) would be listed.
export ASAN_OPTIONS=detect_leaks=0:detect_stack_use_after_return=0:allocator_may_return_null=1
export UBSAN_OPTIONS=print_stacktrace=1
export OMP_WAIT_POLICY=passive SORUS_BUILD=$PWD/build-sanitize
echo "== sanitizers: running the C++ tests in $parts parts"
pids=()
for ((i = 0; i < parts; ++i)); do
  GTEST_TOTAL_SHARDS=$parts GTEST_SHARD_INDEX=$i build-sanitize/sorus_tests --gtest_filter="$filter" --gtest_brief=1 \
    >"build-sanitize/part$i.log" 2>&1 &
  pids+=($!)
done
failed=0
for ((i = 0; i < parts; ++i)); do
  wait "${pids[$i]}" || { failed=1; grep -vE '^\[  SKIPPED' "build-sanitize/part$i.log" | tail -60; }
done
cat build-sanitize/part*.log | grep -E '^\[  PASSED  \]|tests? ran' || true
[ $failed = 0 ] && echo "sanitizers: nothing found"
exit $failed
