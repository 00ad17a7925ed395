/* Tells valgrind which part of a program to count; does nothing elsewhere. */
#include <valgrind/callgrind.h>

void counting_start(void) {
    CALLGRIND_START_INSTRUMENTATION;
    CALLGRIND_ZERO_STATS;
}

void counting_stop(void) {
    CALLGRIND_STOP_INSTRUMENTATION;
}
