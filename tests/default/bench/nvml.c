/* A driver's library for tests: two GPUs that always show the same. What is not
   here, NVML does not offer; power is offered by the first GPU alone. */

enum { OK = 0, NO_ARGUMENT = 2, NOT_SUPPORTED = 3 };

struct memory { unsigned version; unsigned long long total, reserved, free, used; };
struct utilization { unsigned gpu, memory; };

/* Handles are addresses of these. */
static int gpus[2];

static unsigned long index_of(int *gpu) { return (unsigned long)(gpu - gpus); }

int nvmlInit_v2(void) { return OK; }
int nvmlShutdown(void) { return OK; }

int nvmlDeviceGetCount_v2(unsigned *count) {
    *count = 2;
    return OK;
}

int nvmlDeviceGetHandleByIndex_v2(unsigned index, int **gpu) {
    if (index > 1) return NO_ARGUMENT;
    *gpu = &gpus[index];
    return OK;
}

int nvmlDeviceGetUUID(int *gpu, char *text, unsigned length) {
    const char name[] = "GPU-0";
    if (length < sizeof name) return NO_ARGUMENT;
    for (unsigned at = 0; at < sizeof name; at++) ((volatile char *)text)[at] = name[at];
    text[4] += index_of(gpu);
    return OK;
}

int nvmlDeviceGetUtilizationRates(int *gpu, struct utilization *rates) {
    rates->gpu = 50 + 20 * index_of(gpu);
    rates->memory = 10;
    return OK;
}

int nvmlDeviceGetMemoryInfo_v2(int *gpu, struct memory *memory) {
    memory->total = 80ULL << 30;
    memory->reserved = 0;
    memory->used = (1 + index_of(gpu)) << 30;
    memory->free = memory->total - memory->used;
    return OK;
}

int nvmlDeviceGetPowerUsage(int *gpu, unsigned *milliwatts) {
    *milliwatts = 350000;
    return index_of(gpu) == 0 ? OK : NOT_SUPPORTED;
}

int nvmlDeviceGetTemperature(int *gpu, unsigned sensor, unsigned *celsius) {
    *celsius = 60 + index_of(gpu);
    return sensor == 0 ? OK : NOT_SUPPORTED;
}

int nvmlDeviceGetClockInfo(int *gpu, unsigned clock, unsigned *mhz) {
    (void)gpu;
    *mhz = clock == 1 ? 1980 : 2619;
    return OK;
}

/* The first one's hardware slows it down for its heat; the second one idles. */
int nvmlDeviceGetCurrentClocksThrottleReasons(int *gpu, unsigned long long *reasons) {
    *reasons = index_of(gpu) == 0 ? 0x40 : 0x1;
    return OK;
}
