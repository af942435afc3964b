/* From a second of sound to what the keyword model of MLPerf Tiny was trained with: 49 frames of 10 mel-frequency
   cepstral coefficients, quantised. */
#ifndef KEYWORD_FEATURES_H
#define KEYWORD_FEATURES_H

#include <stdint.h>

#define SAMPLES 16000 /* one second */
#define FRAMES 49     /* of 480 samples, 320 apart */
#define COEFFICIENTS 10
#define WORK_FLOATS 512

/* `out`: FRAMES * COEFFICIENTS integers in steps of `scale` from `zero_point`; `work` is overwritten. */
void keyword_features(const int16_t* samples, float scale, int zero_point, float work[WORK_FLOATS], int8_t* out);

#endif
