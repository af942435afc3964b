#!/usr/bin/env bash
# scripts/fuzz.sh [SECONDS] [READER...]: fuzzes the readers of files, each for so many seconds (30), with clang's
# libFuzzer and its checks of memory and of undefined behaviour. What it found grows in build-fuzz/corpus.
set -euo pipefail
cd "$(dirname "$0")/.."
seconds=${1:-30}
[ $# -eq 0 ] || shift
readers=("$@")
[ $# -gt 0 ] || readers=(safetensors checkpoint npy idx cifar tokenizer)

mkdir -p build-fuzz
# Not the files that walk folders: clang 14 does not compile their views of gcc 12's library.
sources=(tests/fuzz/readers_fuzz.cpp src/sorus/{base,tensor,io}/*.cpp
  src/sorus/data/{dataset,images,sampler,bpe,bpe_train,simple_tokenizers,tokenizer_json,word_splitter}.cpp)
objects=()
for source in "${sources[@]}"; do objects+=("build-fuzz/$(tr / _ <<<"$source").o"); done
newest=$(ls -t src/sorus/{base,tensor,io,data}/*.h | head -1)
printf '%s\n' "${sources[@]}" | xargs -P "$(nproc)" -I{} sh -c '
  object=build-fuzz/$(echo {} | tr / _).o
  [ "$object" -nt {} ] && [ "$object" -nt '"$newest"' ] || clang++-14 -std=c++20 -O1 -g -fopenmp \
    -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=undefined -Isrc -c {} -o "$object"'
clang++-14 -fopenmp -fsanitize=fuzzer,address,undefined "${objects[@]}" -o build-fuzz/readers -lfmt -lz -lpcre2-8
for reader in "${readers[@]}"; do
  echo "== $reader"
  corpus=build-fuzz/corpus/$reader
  mkdir -p "$corpus"
  READER=$reader WRITE_SEED=$corpus build-fuzz/readers
  READER=$reader build-fuzz/readers "$corpus" -max_total_time="$seconds" -max_len=8192 -rss_limit_mb=2048 -timeout=10 \
    -artifact_prefix="build-fuzz/$reader-" -print_funcs=0 -verbosity=0
done
echo "fuzz: ${readers[*]}: nothing found"
