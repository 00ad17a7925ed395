/* The process of a container: sleeps for ever; "busy": works 50 us five times a second and touches new memory each time.
   It ends with the benchmark that started it. */
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

static long now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000L + t.tv_nsec;
}

int main(int count, char **words) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (count < 2 || strcmp(words[1], "busy"))
        for (;;)
            pause();
    const struct timespec rest = {0, 200000000};
    const size_t size = 64 << 10;
    for (;;) {
        char *memory = mmap(0, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        for (long end = now_ns() + 50000; now_ns() < end;)
            for (size_t at = 0; at < size; at += 4096)
                memory[at]++;
        munmap(memory, size);
        nanosleep(&rest, 0);
    }
}
