/* What the examples ask of where they run: a board without an operating system (boot.c), or this machine (host.c). */
#ifndef BOARD_H
#define BOARD_H

void put_text(const char* text);
void put_number(long v);

/* Bytes of RAM that were in use at most until now: data, and the deepest stack. 0 where nobody knows (host.c). */
unsigned long ram_used(void);

int main(void);

#endif
