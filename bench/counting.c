/* Starts and stops valgrind's counting; has no effect without valgrind. */
#include <valgrind/callgrind.h>

void counting_start(void) {
    CALLGRIND_START_INSTRUMENTATION;
    CALLGRIND_ZERO_STATS;
}

void counting_stop(void) {
    CALLGRIND_STOP_INSTRUMENTATION;
}
