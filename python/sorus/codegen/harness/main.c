/* Runs a generated model on the inputs in in.bin, RUNS inferences, each twice: with inputs and outputs in memory of their
 * own, and with those that have an offset inside the arena. Writes out.bin (the outputs) and facts.bin: ticks, stack,
 * errors, differences between both ways, writes outside of the arena. model.h, written by verify.py, names the model.
 * Where it says how many LAYERS there are, the model calls sorus_mark(i) before layer i, and marks.bin has the ticks of
 * each over all runs, two an inference, and behind them those of 256 layers without anything in them. */
#include "model.h"
#include "services.h"

enum { GUARD = 64, PAINT = 16384 };
static unsigned char memory[GUARD + ARENA + GUARD] __attribute__((aligned(64)));
/* Each input and output lies at a multiple of 4 (own_place); in files they lie one behind the other. */
static unsigned char in_memory[INPUT_BYTES + 4 * INPUTS] __attribute__((aligned(16)));
static unsigned char out_memory[OUTPUT_BYTES + 4 * OUTPUTS] __attribute__((aligned(16)));
static unsigned char all_in[RUNS * INPUT_BYTES], all_out[RUNS * OUTPUT_BYTES];
static unsigned long long facts[5];
#if STATE
static unsigned char before_run[STATE], after_run[STATE]; /* the state around the first of both ways */
#endif

#ifdef LAYERS
static unsigned long long marks[LAYERS + 1], since;
static int layer = LAYERS;
void sorus_mark(int next)
{
    const unsigned long long now = ticks();
    marks[layer] += now - since;
    layer = next;
    since = ticks();
}
#endif

static __attribute__((noinline)) int run(const void *const in[], void *const out[])
{
    volatile unsigned char here[1];
    volatile unsigned char *low = here;
    unsigned long long from;
    int error;
    long used = PAINT;
    for (long i = 256; i < PAINT; i++) low[-i] = 0x5a;
    from = ticks();
    error = MODEL_RUN(memory + GUARD, in, out);
    facts[0] += ticks() - from;
#ifdef LAYERS
    sorus_mark(LAYERS);
#endif
    while (used > 256 && low[-used + 1] == 0x5a) used--;
    if ((unsigned long long)used > facts[1]) facts[1] = (unsigned long long)used;
    return error;
}

/* Where the next tensor begins, behind one of `bytes` bytes. */
static long own_place(long at, long bytes) { return (at + bytes + 3) & ~3L; }

int main(void)
{
    static const long in_bytes[] = {INPUT_SIZES}, out_bytes[] = {OUTPUT_SIZES}, in_at[] = {INPUT_OFFSETS}, out_at[] = {OUTPUT_OFFSETS};
    read_file("in.bin", all_in, sizeof all_in);
    for (long i = 0; i < GUARD; i++) memory[i] = memory[GUARD + ARENA + i] = 0xa7;
    MODEL_RESET(memory + GUARD);
    for (long r = 0; r < RUNS; r++) {
        const void *in[INPUTS];
        void *out[OUTPUTS];
        unsigned long long before;
        long at = 0, own = 0;
        for (long i = STATE; i < ARENA; i++) memory[GUARD + i] = (unsigned char)(0x33 + 7 * r);
        for (int i = 0; i < INPUTS; own = own_place(own, in_bytes[i]), at += in_bytes[i++]) {
            in[i] = in_memory + own;
            for (long j = 0; j < in_bytes[i]; j++) in_memory[own + j] = all_in[r * INPUT_BYTES + at + j];
        }
        own = 0;
        for (int i = 0; i < OUTPUTS; own = own_place(own, out_bytes[i++])) out[i] = out_memory + own;
#if STATE
        for (long i = 0; i < STATE; i++) before_run[i] = memory[GUARD + i];
#endif
        facts[2] += run(in, out) != 0;
#if STATE
        for (long i = 0; i < STATE; i++) after_run[i] = memory[GUARD + i], memory[GUARD + i] = before_run[i];
#endif
        at = own = 0;
        for (int i = 0; i < INPUTS; own = own_place(own, in_bytes[i]), at += in_bytes[i++])
            for (long j = 0; j < in_bytes[i]; j++) facts[2] += in_memory[own + j] != all_in[r * INPUT_BYTES + at + j];
        at = own = 0;
        for (int i = 0; i < OUTPUTS; own = own_place(own, out_bytes[i]), at += out_bytes[i++])
            for (long j = 0; j < out_bytes[i]; j++) all_out[r * OUTPUT_BYTES + at + j] = out_memory[own + j];
        at = 0;
        for (int i = 0; i < INPUTS; at += in_bytes[i++]) {
            in[i] = memory + GUARD + in_at[i];
            for (long j = 0; j < in_bytes[i]; j++) memory[GUARD + in_at[i] + j] = all_in[r * INPUT_BYTES + at + j];
        }
        for (int i = 0; i < OUTPUTS; i++) out[i] = memory + GUARD + out_at[i];
        before = facts[0];
        facts[2] += run(in, out) != 0;
        facts[0] = before; /* one inference counts once */
#if STATE
        for (long i = 0; i < STATE; i++) facts[3] += memory[GUARD + i] != after_run[i];
#endif
        at = 0;
        for (int i = 0; i < OUTPUTS; at += out_bytes[i++])
            for (long j = 0; j < out_bytes[i]; j++) facts[3] += memory[GUARD + out_at[i] + j] != all_out[r * OUTPUT_BYTES + at + j];
    }
    for (long i = 0; i < GUARD; i++) facts[4] += (memory[i] != 0xa7) + (memory[GUARD + ARENA + i] != 0xa7);
#ifdef LAYERS
    marks[LAYERS] = 0, since = ticks();
    for (int i = 0; i < 256; i++) sorus_mark(LAYERS);
    write_file("marks.bin", marks, sizeof marks);
#endif
    write_file("out.bin", all_out, sizeof all_out);
    write_file("facts.bin", facts, sizeof facts);
    return 0;
}
