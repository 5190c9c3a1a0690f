/* Test double: libcuda.so.1, the part of the CUDA driver API that a compute check needs, in host memory.
 *
 * Kernels are really executed from their PTX text (see ptx.h). Device addresses are not addresses of this
 * process, and every access is checked against the allocations. Launches report their error at the next
 * synchronisation, and an error stays with its context, as on a card. For one thread at a time. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ptx.h"
#include "sim.h"

#ifndef SIM_DRIVER_VERSION
#error "SIM_DRIVER_VERSION names the driver release that this library belongs to"
#endif
#define CUDA_DRIVER_VERSION 13000 /* what branch 580 reports: CUDA 13.0 */

#define API __attribute__((visibility("default"))) CUresult

typedef enum {
    CUDA_SUCCESS = 0,
    CUDA_ERROR_INVALID_VALUE = 1,
    CUDA_ERROR_OUT_OF_MEMORY = 2,
    CUDA_ERROR_NOT_INITIALIZED = 3,
    CUDA_ERROR_NO_DEVICE = 100,
    CUDA_ERROR_INVALID_DEVICE = 101,
    CUDA_ERROR_INVALID_CONTEXT = 201,
    CUDA_ERROR_ECC_UNCORRECTABLE = 214,
    CUDA_ERROR_INVALID_PTX = 218,
    CUDA_ERROR_INVALID_HANDLE = 400,
    CUDA_ERROR_NOT_FOUND = 500,
    CUDA_ERROR_ILLEGAL_ADDRESS = 700,
    CUDA_ERROR_LAUNCH_TIMEOUT = 702,
    CUDA_ERROR_MISALIGNED_ADDRESS = 716,
    CUDA_ERROR_SYSTEM_NOT_READY = 802,
    CUDA_ERROR_SYSTEM_DRIVER_MISMATCH = 803,
    CUDA_ERROR_UNKNOWN = 999,
} CUresult;

static const struct {
    CUresult code;
    const char *name, *text;
} ERRORS[] = {
    {CUDA_SUCCESS, "CUDA_SUCCESS", "no error"},
    {CUDA_ERROR_INVALID_VALUE, "CUDA_ERROR_INVALID_VALUE", "invalid argument"},
    {CUDA_ERROR_OUT_OF_MEMORY, "CUDA_ERROR_OUT_OF_MEMORY", "out of memory"},
    {CUDA_ERROR_NOT_INITIALIZED, "CUDA_ERROR_NOT_INITIALIZED", "initialization error"},
    {CUDA_ERROR_NO_DEVICE, "CUDA_ERROR_NO_DEVICE", "no CUDA-capable device is detected"},
    {CUDA_ERROR_INVALID_DEVICE, "CUDA_ERROR_INVALID_DEVICE", "invalid device ordinal"},
    {CUDA_ERROR_INVALID_CONTEXT, "CUDA_ERROR_INVALID_CONTEXT", "invalid device context"},
    {CUDA_ERROR_ECC_UNCORRECTABLE, "CUDA_ERROR_ECC_UNCORRECTABLE", "uncorrectable ECC error encountered"},
    {CUDA_ERROR_INVALID_PTX, "CUDA_ERROR_INVALID_PTX", "a PTX JIT compilation failed"},
    {CUDA_ERROR_INVALID_HANDLE, "CUDA_ERROR_INVALID_HANDLE", "invalid resource handle"},
    {CUDA_ERROR_NOT_FOUND, "CUDA_ERROR_NOT_FOUND", "named symbol not found"},
    {CUDA_ERROR_ILLEGAL_ADDRESS, "CUDA_ERROR_ILLEGAL_ADDRESS", "an illegal memory access was encountered"},
    {CUDA_ERROR_LAUNCH_TIMEOUT, "CUDA_ERROR_LAUNCH_TIMEOUT", "the launch timed out and was terminated"},
    {CUDA_ERROR_MISALIGNED_ADDRESS, "CUDA_ERROR_MISALIGNED_ADDRESS", "misaligned address"},
    {CUDA_ERROR_SYSTEM_NOT_READY, "CUDA_ERROR_SYSTEM_NOT_READY", "system not yet initialized"},
    {CUDA_ERROR_SYSTEM_DRIVER_MISMATCH, "CUDA_ERROR_SYSTEM_DRIVER_MISMATCH",
     "system has unsupported display driver / cuda driver combination"},
    {CUDA_ERROR_UNKNOWN, "CUDA_ERROR_UNKNOWN", "unknown error"},
};
#define ERROR_COUNT (sizeof ERRORS / sizeof *ERRORS)

#define MAX_ALLOCATIONS 256
#define PAGE 0x200000ULL /* granularity of device memory; a page between allocations stays unmapped */

typedef struct {
    int device; /* ordinal */
    uint64_t address;
    size_t size;
    unsigned char *bytes; /* NULL: free slot */
} allocation;

typedef struct CUctx_st {
    int device, references;
    CUresult broken; /* first error of a kernel; all later calls answer it */
} *CUcontext;
typedef ptx_module *CUmodule;
typedef ptx_kernel *CUfunction;
typedef uint64_t CUdeviceptr;

static sim_state hardware;
static int visible[SIM_MAX_GPUS], device_count = -1;
static struct CUctx_st contexts[SIM_MAX_GPUS];
static allocation allocations[MAX_ALLOCATIONS];
static uint64_t next_address = 0x7f0000000000ULL;
static __thread CUcontext current;

/* ---- library and devices ---- */

API cuGetErrorName(CUresult code, const char **text) {
    for (size_t i = 0; i < ERROR_COUNT; i++)
        if (ERRORS[i].code == code) {
            *text = ERRORS[i].name;
            return CUDA_SUCCESS;
        }
    *text = NULL;
    return CUDA_ERROR_INVALID_VALUE;
}

API cuGetErrorString(CUresult code, const char **text) {
    for (size_t i = 0; i < ERROR_COUNT; i++)
        if (ERRORS[i].code == code) {
            *text = ERRORS[i].text;
            return CUDA_SUCCESS;
        }
    *text = NULL;
    return CUDA_ERROR_INVALID_VALUE;
}

API cuInit(unsigned flags) {
    char module[32];
    if (flags)
        return CUDA_ERROR_INVALID_VALUE;
    if (sim_module_version(module, sizeof module) || sim_read(&hardware) || !sim_has_control_node())
        return CUDA_ERROR_NO_DEVICE;
    if (strcmp(module, SIM_DRIVER_VERSION) || (hardware.host_faults & SIM_VERSION_MISMATCH))
        return CUDA_ERROR_SYSTEM_DRIVER_MISMATCH;
    int found = sim_visible(&hardware, visible);
    if (found == 0)
        return CUDA_ERROR_NO_DEVICE;
    if (hardware.host_faults & SIM_FABRIC)
        return CUDA_ERROR_SYSTEM_NOT_READY;
    device_count = found;
    return CUDA_SUCCESS;
}

API cuDriverGetVersion(int *version) {
    if (!version)
        return CUDA_ERROR_INVALID_VALUE;
    *version = CUDA_DRIVER_VERSION;
    return CUDA_SUCCESS;
}

static CUresult check_device(int device, const void *out) {
    if (device_count < 0)
        return CUDA_ERROR_NOT_INITIALIZED;
    if (!out)
        return CUDA_ERROR_INVALID_VALUE;
    return device >= 0 && device < device_count ? CUDA_SUCCESS : CUDA_ERROR_INVALID_DEVICE;
}

API cuDeviceGetCount(int *count) {
    if (device_count < 0)
        return CUDA_ERROR_NOT_INITIALIZED;
    if (!count)
        return CUDA_ERROR_INVALID_VALUE;
    *count = device_count;
    return CUDA_SUCCESS;
}

API cuDeviceGet(int *device, int ordinal) {
    CUresult result = check_device(ordinal, device);
    if (result == CUDA_SUCCESS)
        *device = ordinal;
    return result;
}

API cuDeviceGetName(char *name, int length, int device) {
    CUresult result = check_device(device, name);
    if (result == CUDA_SUCCESS)
        snprintf(name, (size_t)length, "%s", hardware.name);
    return result;
}

API cuDeviceGetUuid(unsigned char *uuid, int device) {
    CUresult result = check_device(device, uuid);
    if (result != CUDA_SUCCESS)
        return result;
    const char *text = hardware.gpu[visible[device]].uuid + strlen("GPU-");
    for (int i = 0; i < 16; i++) {
        unsigned byte = 0;
        text += *text == '-';
        if (sscanf(text, "%2x", &byte) != 1)
            return CUDA_ERROR_UNKNOWN;
        uuid[i] = (unsigned char)byte;
        text += 2;
    }
    return CUDA_SUCCESS;
}
API cuDeviceGetUuid_v2(unsigned char *uuid, int device) { return cuDeviceGetUuid(uuid, device); }

API cuDeviceGetPCIBusId(char *text, int length, int device) {
    CUresult result = check_device(device, text);
    if (result == CUDA_SUCCESS)
        snprintf(text, (size_t)length, "%s", hardware.gpu[visible[device]].bus);
    return result;
}

API cuDeviceTotalMem_v2(size_t *bytes, int device) {
    CUresult result = check_device(device, bytes);
    if (result == CUDA_SUCCESS)
        *bytes = (size_t)(hardware.memory_mib << 20);
    return result;
}

API cuDeviceGetAttribute(int *value, int attribute, int device) {
    CUresult result = check_device(device, value);
    unsigned bus = 0;
    if (result != CUDA_SUCCESS)
        return result;
    sscanf(hardware.gpu[visible[device]].bus, "%*x:%x", &bus);
    switch (attribute) {
    case 1: *value = 1024; break;                      /* threads per block */
    case 10: *value = 32; break;                       /* warp size */
    case 16: *value = hardware.multiprocessors; break; /* multiprocessors */
    case 32: *value = 1; break;                        /* ECC enabled */
    case 33: *value = (int)bus; break;                 /* PCI bus */
    case 75: *value = hardware.cc_major; break;        /* compute capability */
    case 76: *value = hardware.cc_minor; break;
    default: return CUDA_ERROR_INVALID_VALUE;
    }
    return CUDA_SUCCESS;
}

/* ---- contexts: one per device, the primary one ---- */

static unsigned faults_of(int device) {
    sim_state now;
    if (sim_read(&now) || visible[device] >= now.count)
        return SIM_LOST;
    sim_hang(visible[device]);
    return now.gpu[visible[device]].faults;
}

API cuDevicePrimaryCtxRetain(CUcontext *context, int device) {
    CUresult result = check_device(device, context);
    if (result != CUDA_SUCCESS)
        return result;
    if (faults_of(device) & (SIM_LOST | SIM_UNPLUGGED))
        return CUDA_ERROR_UNKNOWN;
    contexts[device].device = device;
    contexts[device].references++;
    *context = &contexts[device];
    return CUDA_SUCCESS;
}

static void free_memory_of(int device) {
    for (int i = 0; i < MAX_ALLOCATIONS; i++)
        if (allocations[i].bytes && allocations[i].device == device) {
            free(allocations[i].bytes);
            allocations[i].bytes = NULL;
        }
}

API cuDevicePrimaryCtxRelease_v2(int device) {
    CUresult result = check_device(device, &device);
    if (result != CUDA_SUCCESS)
        return result;
    if (contexts[device].references == 0)
        return CUDA_ERROR_INVALID_CONTEXT;
    if (--contexts[device].references == 0) {
        free_memory_of(device);
        contexts[device].broken = CUDA_SUCCESS;
    }
    return CUDA_SUCCESS;
}
API cuDevicePrimaryCtxRelease(int device) { return cuDevicePrimaryCtxRelease_v2(device); }

API cuCtxSetCurrent(CUcontext context) {
    if (context && (context < contexts || context >= contexts + SIM_MAX_GPUS || !context->references))
        return CUDA_ERROR_INVALID_CONTEXT;
    current = context;
    return CUDA_SUCCESS;
}

API cuCtxGetCurrent(CUcontext *context) {
    if (!context)
        return CUDA_ERROR_INVALID_VALUE;
    *context = current;
    return CUDA_SUCCESS;
}

API cuCtxCreate_v2(CUcontext *context, unsigned flags, int device) {
    (void)flags;
    CUresult result = cuDevicePrimaryCtxRetain(context, device);
    return result == CUDA_SUCCESS ? cuCtxSetCurrent(*context) : result;
}

API cuCtxDestroy_v2(CUcontext context) {
    if (context < contexts || context >= contexts + SIM_MAX_GPUS)
        return CUDA_ERROR_INVALID_CONTEXT;
    if (current == context)
        current = NULL;
    return cuDevicePrimaryCtxRelease_v2(context->device);
}

static CUresult check_context(void) {
    if (device_count < 0)
        return CUDA_ERROR_NOT_INITIALIZED;
    if (!current || !current->references)
        return CUDA_ERROR_INVALID_CONTEXT;
    if (current->broken == CUDA_SUCCESS) {
        unsigned faults = faults_of(current->device);
        if (faults & (SIM_LOST | SIM_UNPLUGGED))
            current->broken = CUDA_ERROR_UNKNOWN;
        else if (faults & SIM_ECC)
            current->broken = CUDA_ERROR_ECC_UNCORRECTABLE;
    }
    return current->broken;
}

API cuCtxSynchronize(void) { return check_context(); }

/* ---- memory ---- */

API cuMemAlloc_v2(CUdeviceptr *address, size_t size) {
    CUresult result = check_context();
    if (result != CUDA_SUCCESS)
        return result;
    if (!address || !size)
        return CUDA_ERROR_INVALID_VALUE;
    for (int i = 0; i < MAX_ALLOCATIONS; i++) {
        allocation *slot = &allocations[i];
        if (slot->bytes)
            continue;
        if (size > hardware.memory_mib << 20 || !(slot->bytes = malloc(size)))
            return CUDA_ERROR_OUT_OF_MEMORY;
        memset(slot->bytes, 0xa5, size); /* fresh device memory holds anything but zeros */
        slot->device = current->device;
        slot->size = size;
        *address = slot->address = next_address;
        next_address += (size + 2 * PAGE - 1) / PAGE * PAGE + PAGE;
        return CUDA_SUCCESS;
    }
    return CUDA_ERROR_OUT_OF_MEMORY;
}

API cuMemFree_v2(CUdeviceptr address) {
    for (int i = 0; i < MAX_ALLOCATIONS; i++)
        if (allocations[i].bytes && allocations[i].address == address) {
            free(allocations[i].bytes);
            allocations[i].bytes = NULL;
            return CUDA_SUCCESS;
        }
    return CUDA_ERROR_INVALID_VALUE;
}

/* ptx_resolve: memory of `context`'s device behind a device address. */
static void *resolve(void *context, uint64_t address, size_t size) {
    for (int i = 0; i < MAX_ALLOCATIONS; i++) {
        allocation *a = &allocations[i];
        if (a->bytes && a->device == ((CUcontext)context)->device && address >= a->address && size <= a->size &&
            address - a->address <= a->size - size)
            return a->bytes + (address - a->address);
    }
    return NULL;
}

API cuMemcpyHtoD_v2(CUdeviceptr target, const void *source, size_t size) {
    CUresult result = check_context();
    if (result != CUDA_SUCCESS)
        return result;
    void *memory = resolve(current, target, size);
    if (!memory || !source)
        return CUDA_ERROR_INVALID_VALUE;
    memcpy(memory, source, size);
    return CUDA_SUCCESS;
}

API cuMemcpyDtoH_v2(void *target, CUdeviceptr source, size_t size) {
    CUresult result = check_context();
    if (result != CUDA_SUCCESS)
        return result;
    void *memory = resolve(current, source, size);
    if (!memory || !target)
        return CUDA_ERROR_INVALID_VALUE;
    memcpy(target, memory, size);
    return CUDA_SUCCESS;
}

API cuMemGetInfo_v2(size_t *available, size_t *total) {
    CUresult result = check_context();
    if (result != CUDA_SUCCESS)
        return result;
    if (!available || !total)
        return CUDA_ERROR_INVALID_VALUE;
    *total = *available = (size_t)(hardware.memory_mib << 20);
    for (int i = 0; i < MAX_ALLOCATIONS; i++)
        if (allocations[i].bytes && allocations[i].device == current->device)
            *available -= allocations[i].size;
    return CUDA_SUCCESS;
}

/* ---- kernels ---- */

#define JIT_ERROR_LOG 5
#define JIT_ERROR_LOG_SIZE 6

API cuModuleLoadDataEx(CUmodule *module, const void *image, unsigned count, int *options, void **values) {
    char *log = NULL;
    size_t log_size = 0;
    CUresult result = check_context();
    if (result != CUDA_SUCCESS)
        return result;
    if (!module || !image)
        return CUDA_ERROR_INVALID_VALUE;
    for (unsigned i = 0; i < count; i++) {
        if (options[i] == JIT_ERROR_LOG)
            log = values[i];
        if (options[i] == JIT_ERROR_LOG_SIZE)
            log_size = (size_t)(uintptr_t)values[i];
    }
    ptx_module *loaded = malloc(sizeof *loaded);
    if (!loaded)
        return CUDA_ERROR_OUT_OF_MEMORY;
    if (ptx_parse(image, loaded, log, log ? log_size : 0)) {
        free(loaded);
        return CUDA_ERROR_INVALID_PTX;
    }
    if (loaded->target > hardware.cc_major * 10 + hardware.cc_minor) {
        if (log && log_size)
            snprintf(log, log_size, "ptxas fatal : .target sm_%d is higher than this device's", loaded->target);
        free(loaded);
        return CUDA_ERROR_INVALID_PTX;
    }
    *module = loaded;
    return CUDA_SUCCESS;
}

API cuModuleLoadData(CUmodule *module, const void *image) { return cuModuleLoadDataEx(module, image, 0, NULL, NULL); }

API cuModuleUnload(CUmodule module) {
    free(module);
    return CUDA_SUCCESS;
}

API cuModuleGetFunction(CUfunction *function, CUmodule module, const char *name) {
    if (!function || !module || !name)
        return CUDA_ERROR_INVALID_VALUE;
    if (strcmp(module->kernel.name, name))
        return CUDA_ERROR_NOT_FOUND;
    *function = &module->kernel;
    return CUDA_SUCCESS;
}

static CUresult result_of(ptx_outcome outcome) {
    switch (outcome) {
    case PTX_DONE: return CUDA_SUCCESS;
    case PTX_BAD_ADDRESS: return CUDA_ERROR_ILLEGAL_ADDRESS;
    case PTX_MISALIGNED: return CUDA_ERROR_MISALIGNED_ADDRESS;
    default: return CUDA_ERROR_LAUNCH_TIMEOUT;
    }
}

API cuLaunchKernel(CUfunction kernel, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz,
                   unsigned shared, void *stream, void **params, void **extra) {
    uint64_t values[PTX_MAX_PARAMS] = {0};
    CUresult result = check_context();
    if (result != CUDA_SUCCESS)
        return result;
    if (!kernel)
        return CUDA_ERROR_INVALID_HANDLE;
    if (!gx || !gy || !gz || !bx || !by || !bz || (uint64_t)bx * by * bz > 1024 || shared || stream || extra ||
        (kernel->params && !params))
        return CUDA_ERROR_INVALID_VALUE;
    for (int i = 0; i < kernel->params; i++)
        memcpy(&values[i], params[i], (size_t)kernel->param[i].type.bits / 8);
    ptx_launch launch = {.kernel = kernel, .params = values, .grid = {gx, gy, gz}, .block = {bx, by, bz},
                         .resolve = resolve, .memory = current,
                         .flip_store = faults_of(current->device) & SIM_WRONG_RESULT ? 4242 : -1};
    current->broken = result_of(ptx_run(&launch));
    return CUDA_SUCCESS; /* launches are asynchronous: what went wrong is told when somebody waits */
}
