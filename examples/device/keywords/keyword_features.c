#include "keyword_features.h"

#include <math.h>

#include "tables.h" /* written by keywords.py: HANN, WAVE, MEL_BAND, MEL_SHARE, DCT */

#define FRAME 480
#define STEP 320
#define HALF 256 /* of the transform's 512 points */
#define BANDS 40
#define BINS 129 /* up to 4 kHz, where the last band ends */

/* In place: `half` complex numbers become their discrete Fourier transform. WAVE[k] is exp(-2 pi i k / 512). */
static void transform(float *x)
{
  int i, j = 0, n, k, at;
  for (i = 1; i < HALF; i++) { /* into the order of reversed bits */
    int bit = HALF >> 1;
    for (; j & bit; bit >>= 1) j ^= bit;
    j ^= bit;
    if (i < j) {
      float re = x[2 * i], im = x[2 * i + 1];
      x[2 * i] = x[2 * j], x[2 * i + 1] = x[2 * j + 1];
      x[2 * j] = re, x[2 * j + 1] = im;
    }
  }
  for (n = 1; n < HALF; n *= 2)
    for (k = 0; k < n; k++) {
      const float c = WAVE[2 * (k * (HALF / n))], s = WAVE[2 * (k * (HALF / n)) + 1];
      for (at = k; at < HALF; at += 2 * n) {
        float *const a = x + 2 * at, *const b = a + 2 * n;
        const float re = b[0] * c - b[1] * s, im = b[0] * s + b[1] * c;
        b[0] = a[0] - re, b[1] = a[1] - im;
        a[0] += re, a[1] += im;
      }
    }
}

/* |X[k]| of the 512 real numbers whose even ones are the real and odd ones the imaginary parts of what `z` is the transform of. */
static float magnitude(const float *z, int k)
{
  const int m = (HALF - k) % HALF;
  const float *const a = z + 2 * (k % HALF), *const b = z + 2 * m;
  const float even_re = (a[0] + b[0]) / 2, even_im = (a[1] - b[1]) / 2;
  const float odd_re = (a[1] + b[1]) / 2, odd_im = (b[0] - a[0]) / 2;
  const float c = WAVE[2 * k], s = WAVE[2 * k + 1];
  const float re = even_re + odd_re * c - odd_im * s, im = even_im + odd_re * s + odd_im * c;
  return sqrtf(re * re + im * im);
}

void keyword_features(const int16_t *samples, float scale, int zero_point, float work[WORK_FLOATS], int8_t *out)
{
  int f, i, k, q, most = 1;
  for (i = 0; i < SAMPLES; i++)
    if (samples[i] > most) most = samples[i];
  for (f = 0; f < FRAMES; f++) {
    float mel[BANDS] = {0};
    for (i = 0; i < WORK_FLOATS; i++) {
      float v = 0;
      if (i < FRAME) {
        v = (float)samples[f * STEP + i] / (float)most; /* the training data's loudest sample is 1, and none is below -1 */
        v = (v < -1 ? -1 : v) * HANN[i];
      }
      work[i] = v;
    }
    transform(work);
    for (k = 1; k < BINS; k++) { /* a bin lies between the middles of two bands */
      const int band = MEL_BAND[k];
      const float size = magnitude(work, k);
      if (band > 0 && band <= BANDS) mel[band - 1] += (1 - MEL_SHARE[k]) * size;
      if (band >= 0 && band < BANDS) mel[band] += MEL_SHARE[k] * size;
    }
    for (i = 0; i < BANDS; i++) mel[i] = logf(mel[i] + 1e-6f);
    for (q = 0; q < COEFFICIENTS; q++) {
      float sum = 0, code;
      for (i = 0; i < BANDS; i++) sum += mel[i] * DCT[q * BANDS + i];
      code = floorf(sum / scale + 0.5f) + (float)zero_point;
      out[f * COEFFICIENTS + q] = (int8_t)(code < -128 ? -128 : code > 127 ? 127 : code);
    }
  }
}
