/* What the program that runs a generated model needs of its surroundings. */
int main(void);
void read_file(const char* name, void* to, long bytes);
void write_file(const char* name, const void* from, long bytes);
void leave(int code) __attribute__((noreturn));
unsigned long long ticks(void); /* 0 where there is no clock */
