/* An image that boots without an operating system or a library of start-up code: Arm's MPS2 and MPS3 boards, as QEMU has them.

   The processor takes its stack pointer and the address of `start` from the table of vectors. `start` copies initial values from
   flash, zeroes the rest, switches the FPU on and calls main. The rest of RAM is the stack; it is painted first, so that
   ram_used() can tell how deep it became. UART is the address of the board's first serial port. */
#include "board.h"

#define REG(address) (*(volatile unsigned *)(address))
#define PAINT 0xa5a5a5a5u

extern unsigned data_from[], data_begin[], data_end[], bss_begin[], bss_end[], stack_end[];

static void put(char c)
{
  while (REG(UART + 4) & 1) {
  }
  REG(UART) = (unsigned)c;
}

void put_text(const char *text)
{
  while (*text) put(*text++);
}

void put_number(long v)
{
  char digits[12];
  int n = 0;
  unsigned long rest = v < 0 ? 0 - (unsigned long)v : (unsigned long)v;
  if (v < 0) put('-');
  do digits[n++] = (char)('0' + rest % 10);
  while (rest /= 10);
  while (n) put(digits[--n]);
}

unsigned long ram_used(void)
{
  const unsigned *lowest = bss_end;
  while (lowest < stack_end && *lowest == PAINT) lowest++;
  return (unsigned long)((const char *)bss_end - (const char *)data_begin) +
         (unsigned long)((const char *)stack_end - (const char *)lowest);
}

/* Ends QEMU by semihosting; without a debugger a board stops here. */
static void leave(int code)
{
  const long arguments[] = {0x20026, code};
  register long r0 __asm__("r0") = 0x20;
  register const void *r1 __asm__("r1") = arguments;
  __asm__ volatile("bkpt 0xab" : "+r"(r0) : "r"(r1) : "memory");
  for (;;) {
  }
}

static void fault(void) { leave(1); }

static __attribute__((noinline)) void run(void) { leave(main()); }

void start(void)
{
  unsigned *from = data_from, *to;
  for (to = data_begin; to < data_end;) *to++ = *from++;
  for (to = bss_begin; to < bss_end;) *to++ = 0;
  for (to = bss_end; to < (unsigned *)__builtin_frame_address(0) - 8;) *to++ = PAINT;
#if __ARM_ARCH >= 7
  REG(0xe000ed88) |= 0xfu << 20; /* the coprocessors of floating point and vectors */
  __asm__ volatile("dsb\n\tisb");
#endif
  REG(UART + 16) = 16; /* as fast as it goes */
  REG(UART + 8) = 1;
  run();
}

__attribute__((section(".vectors"), used)) static void (*const vectors[16])(void) = {
    (void (*)(void))stack_end, start, fault, fault, fault, fault, fault};
