/* Start-up for the boards of QEMU: files through semihosting, time from SysTick. See services.h. */
#include "services.h"

#define REG(address) (*(volatile unsigned *)(address))

extern unsigned stack_end[];
static volatile unsigned wraps;

static long host(long operation, const void *arguments)
{
    register long r0 __asm__("r0") = operation;
    register const void *r1 __asm__("r1") = arguments;
    __asm__ volatile("bkpt 0xab" : "+r"(r0) : "r"(r1) : "memory");
    return r0;
}

static long open_file(const char *name, long mode)
{
    long n = 0;
    while (name[n]) n++;
    const long arguments[] = {(long)name, mode, n};
    return host(0x01, arguments);
}

void read_file(const char *name, void *to, long bytes)
{
    const long arguments[] = {open_file(name, 1), (long)to, bytes};
    if (arguments[0] < 0 || host(0x06, arguments) != 0) leave(90);
    host(0x02, arguments);
}

void write_file(const char *name, const void *from, long bytes)
{
    const long arguments[] = {open_file(name, 5), (long)from, bytes};
    if (arguments[0] < 0 || host(0x05, arguments) != 0) leave(91);
    host(0x02, arguments);
}

void leave(int code)
{
    const long arguments[] = {0x20026, code};
    host(0x20, arguments);
    for (;;) {
    }
}

unsigned long long ticks(void)
{
    unsigned before, now;
    do {
        before = wraps;
        now = REG(0xe000e018);
    } while (before != wraps);
    return ((unsigned long long)before << 24) + (now ? 0x1000000 - now : 0);
}

static void tick(void) { wraps++; }
static void fault(void) { leave(92); }

void start(void)
{
#if __ARM_ARCH_PROFILE == 'M' && __ARM_ARCH >= 7
    REG(0xe000ed88) |= 0xfu << 20; /* the coprocessors of floating point and vectors */
    __asm__ volatile("dsb\n\tisb");
#endif
    REG(0xe000e014) = 0xffffff;
    REG(0xe000e018) = 0;
    REG(0xe000e010) = 7;
    leave(main());
}

__attribute__((section(".vectors"), used)) static void (*const table[16])(void) = {
    (void (*)(void))stack_end, start, fault, fault, fault, fault, fault, fault, fault, fault, fault, fault, fault, fault, fault, tick};
