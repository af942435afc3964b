/* Keywords, from samples to class: a line for each clip with its class, all scores, and then the RAM that was used. */
#include "board.h"
#include "clips.h" /* written by keywords.py: CLIPS, clips */
#include "keyword_features.h"
#include "keywords.h"

static unsigned char arena[KEYWORDS_ARENA_BYTES] __attribute__((aligned(16)));
static float work[WORK_FLOATS];

int main(void)
{
  int8_t *const features = (int8_t *)arena + KEYWORDS_INPUT0_OFFSET;
  int8_t *const scores = (int8_t *)arena + KEYWORDS_OUTPUT0_OFFSET;
  const void *const inputs[KEYWORDS_NUM_INPUTS] = {features};
  void *const outputs[KEYWORDS_NUM_OUTPUTS] = {scores};
  int clip, i;
  for (clip = 0; clip < CLIPS; clip++) {
    long sum = 0;
    int best = 0, error;
    keyword_features(clips[clip], KEYWORDS_INPUT0_SCALE, KEYWORDS_INPUT0_ZERO_POINT, work, features);
    for (i = 0; i < FRAMES * COEFFICIENTS; i++) sum += (i % 31 + 1) * features[i];
    error = keywords_run(arena, inputs, outputs);
    if (error) return error;
    for (i = 1; i < KEYWORDS_OUTPUT0_BYTES; i++)
      if (scores[i] > scores[best]) best = i;
    put_text("class ");
    put_number(best);
    put_text(" features ");
    put_number(sum);
    put_text(" scores");
    for (i = 0; i < KEYWORDS_OUTPUT0_BYTES; i++) {
      put_text(" ");
      put_number(scores[i]);
    }
    put_text("\n");
  }
  put_text("ram ");
  put_number((long)ram_used());
  put_text("\n");
  return 0;
}
