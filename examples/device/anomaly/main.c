/* Anomalies of a vibration within 1 KB of RAM, stack included: a line for each record with its error, and then the RAM.

   A record of 8 windows of 64 samples becomes the logarithms of its energies in 16 bands, by Goertzel's recursion in integers.
   The autoencoder, which has only seen a healthy machine, gives them back; how far it is off tells how unusual they are. */
#include <string.h>

#include "anomaly.h"
#include "board.h"
#include "records.h" /* written by anomaly.py: RECORDS, records, HANN, COSINES, MEAN, TO_CODE, FROM_CODE, LIMIT */

#define SAMPLES 64
#define BANDS 16
#define WINDOWS 8

static unsigned char arena[ANOMALY_ARENA_BYTES] __attribute__((aligned(16)));
static int16_t samples[SAMPLES]; /* where a sensor would write */
static uint64_t energies[BANDS];
static int8_t bands[BANDS];
static int8_t codes[BANDS] __attribute__((aligned(4)));

/* 4 log2(v) for v >= 16, straight between steps of an eighth. */
static int logarithm(uint64_t v)
{
  int bits = 0;
  while (v >> bits > 15) bits++;
  return 4 * bits + (int)(v >> bits) / 2;
}

/* Adds a window's energies. */
static void measure(void)
{
  int b, i;
  for (b = 0; b < BANDS; b++) {
    int64_t one = 0, two = 0; /* the last two states of a resonator; COSINES are twice the cosines in 2^-14 */
    for (i = 0; i < SAMPLES; i++) {
      const int64_t s = ((samples[i] * HANN[i]) >> 14) + ((COSINES[b] * one) >> 14) - two;
      two = one, one = s;
    }
    energies[b] += (uint64_t)(one * one + two * two - ((COSINES[b] * one) >> 14) * two);
  }
}

int main(void)
{
  int8_t *const back = (int8_t *)arena + ANOMALY_OUTPUT0_OFFSET;
  const void *const inputs[ANOMALY_NUM_INPUTS] = {codes};
  void *const outputs[ANOMALY_NUM_OUTPUTS] = {back};
  int r, i;
  for (r = 0; r < RECORDS; r++) {
    int32_t off = 0;
    memset(energies, 0, sizeof energies);
    for (i = 0; i < WINDOWS; i++) {
      memcpy(samples, records[r] + SAMPLES * i, sizeof samples);
      measure();
    }
    for (i = 0; i < BANDS; i++) {
      const int v = logarithm(energies[i] + 16) - 96;
      int32_t code;
      bands[i] = (int8_t)(v > 127 ? 127 : v);
      code = (((bands[i] - MEAN) * TO_CODE + 32768) >> 16) + ANOMALY_INPUT0_ZERO_POINT;
      codes[i] = (int8_t)(code < -128 ? -128 : code > 127 ? 127 : code);
    }
    i = anomaly_run(arena, inputs, outputs);
    if (i) return i;
    for (i = 0; i < BANDS; i++) { /* in sixteenths of a step of `bands` */
      const int32_t d = (256 * (bands[i] - MEAN) - (back[i] - ANOMALY_OUTPUT0_ZERO_POINT) * FROM_CODE) / 16;
      off += d * d;
    }
    put_text(off > LIMIT ? "unusual " : "usual ");
    put_number(off);
    put_text("\n");
  }
  put_text("ram ");
  put_number((long)ram_used());
  put_text("\n");
  return 0;
}
