// SORUS_CLONES: a function that the compiler makes several times, for AVX-512, AVX2 and the baseline; the loader
// picks the one for this processor. For plain loops over elements that gcc vectorises, in functions that are no
// templates and call nothing but always_inline functions.
#pragma once

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && !defined(__SANITIZE_ADDRESS__) && \
    !defined(__SANITIZE_THREAD__)
#define SORUS_CLONES \
  __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default"), optimize("O3", "no-trapping-math")))
#else
#define SORUS_CLONES
#endif
