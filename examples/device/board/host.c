/* The same on a machine with an operating system. */
#include "board.h"

#include <stdio.h>

void put_text(const char *text) { fputs(text, stdout); }
void put_number(long v) { printf("%ld", v); }
unsigned long ram_used(void) { return 0; }
