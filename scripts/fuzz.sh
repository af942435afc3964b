#!/usr/bin/env bash
# scripts/fuzz.sh [SECONDS] [READER...]: fuzzes the readers of files, each for so many seconds (30), with clang's
# libFuzzer and its checks of memory and of undefined behaviour. What it found grows in build-fuzz/corpus.
# The readers of models, graphs and plans stand on build/libsorus.so: `make build` first.
set -euo pipefail
cd "$(dirname "$0")/.."
seconds=${1:-30}
[ $# -eq 0 ] || shift
data=(safetensors checkpoint npy idx cifar tokenizer)
formats=(onnx tflite mslite graph plan cluster contest)
readers=("$@")
[ $# -gt 0 ] || readers=("${data[@]}" "${formats[@]}")
among() { [[ " ${*:2} " == *" $1 "* ]]; }

program() {  # program NAME FLAGS -- SOURCES: compiles what is older than its source or a header
  local name=$1 flags=() objects=() newest
  shift
  while [ "$1" != -- ]; do flags+=("$1"); shift; done
  shift
  newest=$(ls -t tests/fuzz/*.h tests/cpp/import/*.h src/sorus/{base,tensor,graph,io,data,import}/*.h \
    src/sorus/parallel/{cluster,plan,solver}/*.h | head -1)
  printf '%s\n' "$@" | xargs -P "$(nproc)" -I{} sh -c '
    object=build-fuzz/$(echo {} | tr / _).o
    [ "$object" -nt {} ] && [ "$object" -nt '"$newest"' ] || clang++-14 -std=c++20 -O1 -gline-tables-only -fopenmp \
      -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=undefined \
      -Isrc -Itests/cpp -Ibuild/generated -c {} -o "$object"'
  for source; do objects+=("build-fuzz/$(tr / _ <<<"$source").o"); done
  clang++-14 -fopenmp -fsanitize=fuzzer,address,undefined "${objects[@]}" -o "build-fuzz/$name" -lfmt "${flags[@]}"
}

mkdir -p build-fuzz
for reader in "${readers[@]}"; do
  among "$reader" "${data[@]}" "${formats[@]}" || { echo "there is no reader $reader" >&2; exit 2; }
  if among "$reader" "${data[@]}"; then needs_data=1; else needs_formats=1; fi
done
# Not the files that walk folders: clang 14 does not compile their views of gcc 12's library.
[ -z "${needs_data:-}" ] || program data -lz -lpcre2-8 -- tests/fuzz/{driver,readers_fuzz}.cpp \
  src/sorus/{base,tensor,io}/*.cpp \
  src/sorus/data/{dataset,images,sampler,bpe,bpe_train,simple_tokenizers,tokenizer_json,word_splitter}.cpp
[ -z "${needs_formats:-}" ] || program formats -Lbuild -lsorus -Wl,-rpath,"$PWD/build" -- \
  tests/fuzz/{driver,formats_fuzz}.cpp src/sorus/import/*.cpp src/sorus/graph/{graph_text,attr}.cpp \
  src/sorus/io/{json,toml}.cpp src/sorus/parallel/{cluster/cluster,plan/plan,plan/plan_json,solver/contest}.cpp

for reader in "${readers[@]}"; do
  echo "== $reader"
  corpus=build-fuzz/corpus/$reader
  mkdir -p "$corpus"
  binary=build-fuzz/formats
  if among "$reader" "${data[@]}"; then binary=build-fuzz/data; fi
  READER=$reader WRITE_SEED=$corpus "$binary"
  READER=$reader "$binary" "$corpus" -max_total_time="$seconds" -max_len=8192 -rss_limit_mb=2048 -timeout=10 \
    -artifact_prefix="build-fuzz/$reader-" -print_funcs=0 -verbosity=0
done
echo "fuzz: ${readers[*]}: nothing found"
