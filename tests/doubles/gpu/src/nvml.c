/* Test double: libnvidia-ml.so.1 over simulated GPUs (see sim.h).
 *
 * Every function of the real library that is not here is a generated stub that answers "not supported"
 * (see nvml_symbols.txt). Numbers follow nvml.h of driver branch 580. */
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <time.h>
#include <unistd.h>

#include "sim.h"

#ifndef SIM_DRIVER_VERSION
#error "SIM_DRIVER_VERSION names the driver release that this library belongs to"
#endif
#define CUDA_DRIVER_VERSION 13000 /* what branch 580 reports: CUDA 13.0 */

#define API __attribute__((visibility("default"))) nvmlReturn_t

typedef enum {
    NVML_SUCCESS = 0,
    NVML_ERROR_UNINITIALIZED = 1,
    NVML_ERROR_INVALID_ARGUMENT = 2,
    NVML_ERROR_NOT_SUPPORTED = 3,
    NVML_ERROR_NOT_FOUND = 6,
    NVML_ERROR_INSUFFICIENT_SIZE = 7,
    NVML_ERROR_DRIVER_NOT_LOADED = 9,
    NVML_ERROR_TIMEOUT = 10,
    NVML_ERROR_GPU_IS_LOST = 15,
    NVML_ERROR_LIB_RM_VERSION_MISMATCH = 18,
    NVML_ERROR_ARGUMENT_VERSION_MISMATCH = 25,
    NVML_ERROR_UNKNOWN = 999,
} nvmlReturn_t;

typedef struct nvmlDevice_st *nvmlDevice_t;
struct nvmlDevice_st {
    int index; /* hardware index in the state file */
};

typedef struct {
    char busIdLegacy[16];
    unsigned domain, bus, device, pciDeviceId, pciSubSystemId;
    char busId[32];
} nvmlPciInfo_t;

typedef struct {
    unsigned version, domain, bus, device, pciDeviceId, pciSubSystemId, baseClass, subClass;
    char busId[32];
} nvmlPciInfoExt_t;

typedef struct {
    unsigned long long total, free, used;
} nvmlMemory_t;

typedef struct {
    unsigned version;
    unsigned long long total, reserved, free, used;
} nvmlMemory_v2_t;

typedef struct {
    unsigned char clusterUuid[16];
    unsigned status, cliqueId;
    unsigned char state;
} nvmlGpuFabricInfo_t;

typedef struct {
    unsigned version;
    unsigned char clusterUuid[16];
    unsigned status, cliqueId;
    unsigned char state;
    unsigned healthMask;
    unsigned char healthSummary; /* version 3 only */
} nvmlGpuFabricInfoV_t;

typedef struct {
    nvmlDevice_t device;
    unsigned long long eventType, eventData;
    unsigned gpuInstanceId, computeInstanceId;
} nvmlEventData_t;

#define FABRIC_IN_PROGRESS 2
#define FABRIC_COMPLETED 3
#define EVENT_DOUBLE_BIT_ECC 0x2ULL
#define EVENT_XID 0x8ULL
#define TOPOLOGY_NODE 40

static int initialised;
static struct nvmlDevice_st handles[SIM_MAX_GPUS];

/* ---- library ---- */

static nvmlReturn_t start(void) {
    sim_state state;
    char module[32];
    int visible[SIM_MAX_GPUS];
    sim_make_nodes();
    if (sim_module_version(module, sizeof module) || sim_read(&state) || !sim_has_control_node())
        return NVML_ERROR_DRIVER_NOT_LOADED;
    if (strcmp(module, SIM_DRIVER_VERSION) || (state.host_faults & SIM_VERSION_MISMATCH))
        return NVML_ERROR_LIB_RM_VERSION_MISMATCH;
    for (int i = 0, n = sim_visible(&state, visible); i < n; i++)
        sim_hang(visible[i]);
    for (int i = 0; i < SIM_MAX_GPUS; i++)
        handles[i].index = i;
    __atomic_add_fetch(&initialised, 1, __ATOMIC_SEQ_CST);
    return NVML_SUCCESS;
}

API nvmlInit(void) { return start(); }
API nvmlInit_v2(void) { return start(); }
API nvmlInitWithFlags(unsigned flags) {
    (void)flags;
    return start();
}

API nvmlShutdown(void) {
    if (initialised <= 0)
        return NVML_ERROR_UNINITIALIZED;
    __atomic_sub_fetch(&initialised, 1, __ATOMIC_SEQ_CST);
    return NVML_SUCCESS;
}

__attribute__((visibility("default"))) const char *nvmlErrorString(nvmlReturn_t result) {
    switch (result) {
    case NVML_SUCCESS: return "Success";
    case NVML_ERROR_UNINITIALIZED: return "Uninitialized";
    case NVML_ERROR_INVALID_ARGUMENT: return "Invalid Argument";
    case NVML_ERROR_NOT_SUPPORTED: return "Not Supported";
    case NVML_ERROR_NOT_FOUND: return "Not Found";
    case NVML_ERROR_INSUFFICIENT_SIZE: return "Insufficient Size";
    case NVML_ERROR_DRIVER_NOT_LOADED: return "Driver Not Loaded";
    case NVML_ERROR_TIMEOUT: return "Timeout";
    case NVML_ERROR_GPU_IS_LOST: return "GPU is lost";
    case NVML_ERROR_LIB_RM_VERSION_MISMATCH: return "Driver/library version mismatch";
    case NVML_ERROR_ARGUMENT_VERSION_MISMATCH: return "Argument version mismatch";
    default: return "Unknown Error";
    }
}

static nvmlReturn_t put_text(char *target, unsigned length, const char *text) {
    if (!target)
        return NVML_ERROR_INVALID_ARGUMENT;
    if (strlen(text) + 1 > length)
        return NVML_ERROR_INSUFFICIENT_SIZE;
    strcpy(target, text);
    return NVML_SUCCESS;
}

API nvmlSystemGetDriverVersion(char *version, unsigned length) {
    return initialised ? put_text(version, length, SIM_DRIVER_VERSION) : NVML_ERROR_UNINITIALIZED;
}

API nvmlSystemGetNVMLVersion(char *version, unsigned length) {
    return put_text(version, length, "13." SIM_DRIVER_VERSION);
}

API nvmlSystemGetCudaDriverVersion(int *version) {
    if (!version)
        return NVML_ERROR_INVALID_ARGUMENT;
    *version = CUDA_DRIVER_VERSION;
    return NVML_SUCCESS;
}
API nvmlSystemGetCudaDriverVersion_v2(int *version) { return nvmlSystemGetCudaDriverVersion(version); }

/* ---- finding devices ---- */

API nvmlDeviceGetCount_v2(unsigned *count) {
    sim_state state;
    int visible[SIM_MAX_GPUS];
    if (!initialised)
        return NVML_ERROR_UNINITIALIZED;
    if (!count)
        return NVML_ERROR_INVALID_ARGUMENT;
    if (sim_read(&state))
        return NVML_ERROR_UNKNOWN;
    *count = (unsigned)sim_visible(&state, visible);
    return NVML_SUCCESS;
}
API nvmlDeviceGetCount(unsigned *count) { return nvmlDeviceGetCount_v2(count); }

static nvmlReturn_t handle_of(const sim_state *state, int index, nvmlDevice_t *device) {
    sim_hang(index);
    if (state->gpu[index].faults & SIM_LOST)
        return NVML_ERROR_GPU_IS_LOST;
    *device = &handles[index];
    return NVML_SUCCESS;
}

API nvmlDeviceGetHandleByIndex_v2(unsigned index, nvmlDevice_t *device) {
    sim_state state;
    int visible[SIM_MAX_GPUS];
    if (!initialised)
        return NVML_ERROR_UNINITIALIZED;
    if (!device || sim_read(&state) || index >= (unsigned)sim_visible(&state, visible))
        return NVML_ERROR_INVALID_ARGUMENT;
    return handle_of(&state, visible[index], device);
}
API nvmlDeviceGetHandleByIndex(unsigned index, nvmlDevice_t *device) {
    return nvmlDeviceGetHandleByIndex_v2(index, device);
}

static nvmlReturn_t find(int (*matches)(const sim_gpu *, const char *), const char *key, nvmlDevice_t *device) {
    sim_state state;
    int visible[SIM_MAX_GPUS];
    if (!initialised)
        return NVML_ERROR_UNINITIALIZED;
    if (!key || !device || sim_read(&state))
        return NVML_ERROR_INVALID_ARGUMENT;
    for (int i = 0, n = sim_visible(&state, visible); i < n; i++)
        if (matches(&state.gpu[visible[i]], key))
            return handle_of(&state, visible[i], device);
    return NVML_ERROR_NOT_FOUND;
}

static int has_uuid(const sim_gpu *gpu, const char *uuid) { return !strcmp(gpu->uuid, uuid); }
static int has_serial(const sim_gpu *gpu, const char *serial) { return !strcmp(gpu->serial, serial); }
static int has_bus(const sim_gpu *gpu, const char *bus) {
    /* Callers write the domain with four or eight digits: compare from the last four on. */
    const char *colon = strchr(bus, ':');
    return colon && colon - bus >= 4 && !strcasecmp(colon - 4, gpu->bus);
}

API nvmlDeviceGetHandleByUUID(const char *uuid, nvmlDevice_t *device) { return find(has_uuid, uuid, device); }
API nvmlDeviceGetHandleBySerial(const char *serial, nvmlDevice_t *device) { return find(has_serial, serial, device); }
API nvmlDeviceGetHandleByPciBusId_v2(const char *bus, nvmlDevice_t *device) { return find(has_bus, bus, device); }
API nvmlDeviceGetHandleByPciBusId(const char *bus, nvmlDevice_t *device) { return find(has_bus, bus, device); }

/* ---- one device ---- */

/* Identity is read once from a card and kept: it answers also after the card was lost. */
static nvmlReturn_t recall(nvmlDevice_t device, sim_state *state, const sim_gpu **gpu) {
    if (!initialised)
        return NVML_ERROR_UNINITIALIZED;
    if (device < handles || device >= handles + SIM_MAX_GPUS || sim_read(state) || device->index >= state->count)
        return NVML_ERROR_INVALID_ARGUMENT;
    *gpu = &state->gpu[device->index];
    return NVML_SUCCESS;
}

/* Every other call on a device starts here: it answers for the faults of the hardware as it is now. */
static nvmlReturn_t use(nvmlDevice_t device, sim_state *state, const sim_gpu **gpu) {
    nvmlReturn_t result = recall(device, state, gpu);
    if (result != NVML_SUCCESS)
        return result;
    sim_hang(device->index);
    return (*gpu)->faults & (SIM_LOST | SIM_UNPLUGGED) ? NVML_ERROR_GPU_IS_LOST : NVML_SUCCESS;
}

#define BEGIN(how, device, argument)                                                                                   \
    sim_state state;                                                                                                   \
    const sim_gpu *gpu;                                                                                                \
    nvmlReturn_t result = how(device, &state, &gpu);                                                                   \
    if (result != NVML_SUCCESS)                                                                                        \
        return result;                                                                                                 \
    if (!(argument))                                                                                                   \
        return NVML_ERROR_INVALID_ARGUMENT;
#define USE(device, argument) BEGIN(use, device, argument)
#define RECALL(device, argument) BEGIN(recall, device, argument)

API nvmlDeviceGetName(nvmlDevice_t device, char *name, unsigned length) {
    RECALL(device, name)
    return put_text(name, length, state.name);
}

API nvmlDeviceGetUUID(nvmlDevice_t device, char *uuid, unsigned length) {
    RECALL(device, uuid)
    return put_text(uuid, length, gpu->uuid);
}

/* The cards are never parted: the toolkit asks this of each card that a container names by its UUID. */
API nvmlDeviceIsMigDeviceHandle(nvmlDevice_t device, unsigned *is_mig) {
    RECALL(device, is_mig)
    *is_mig = 0;
    return NVML_SUCCESS;
}

API nvmlDeviceGetSerial(nvmlDevice_t device, char *serial, unsigned length) {
    RECALL(device, serial)
    return put_text(serial, length, gpu->serial);
}

API nvmlDeviceGetVbiosVersion(nvmlDevice_t device, char *version, unsigned length) {
    USE(device, version)
    return put_text(version, length, state.vbios);
}

API nvmlDeviceGetIndex(nvmlDevice_t device, unsigned *index) {
    USE(device, index)
    int visible[SIM_MAX_GPUS];
    for (int i = 0, n = sim_visible(&state, visible); i < n; i++)
        if (visible[i] == device->index) {
            *index = (unsigned)i;
            return NVML_SUCCESS;
        }
    return NVML_ERROR_NOT_FOUND;
}

API nvmlDeviceGetMinorNumber(nvmlDevice_t device, unsigned *minor) {
    RECALL(device, minor)
    *minor = (unsigned)gpu->minor;
    return NVML_SUCCESS;
}

API nvmlDeviceGetBrand(nvmlDevice_t device, unsigned *brand) {
    USE(device, brand)
    *brand = (unsigned)state.brand;
    return NVML_SUCCESS;
}

API nvmlDeviceGetArchitecture(nvmlDevice_t device, unsigned *architecture) {
    USE(device, architecture)
    *architecture = (unsigned)state.architecture;
    return NVML_SUCCESS;
}

API nvmlDeviceGetCudaComputeCapability(nvmlDevice_t device, int *major, int *minor) {
    USE(device, major && minor)
    *major = state.cc_major;
    *minor = state.cc_minor;
    return NVML_SUCCESS;
}

API nvmlDeviceGetPciInfo_v3(nvmlDevice_t device, nvmlPciInfo_t *pci) {
    RECALL(device, pci)
    memset(pci, 0, sizeof *pci);
    sscanf(gpu->bus, "%x:%x:%x", &pci->domain, &pci->bus, &pci->device);
    snprintf(pci->busIdLegacy, sizeof pci->busIdLegacy, "%s", gpu->bus);
    snprintf(pci->busId, sizeof pci->busId, "0000%s", gpu->bus);
    pci->pciDeviceId = state.pci_id;
    pci->pciSubSystemId = state.pci_subsystem;
    return NVML_SUCCESS;
}
API nvmlDeviceGetPciInfo_v2(nvmlDevice_t device, nvmlPciInfo_t *pci) { return nvmlDeviceGetPciInfo_v3(device, pci); }

/* The oldest form ends before the long bus id. */
API nvmlDeviceGetPciInfo(nvmlDevice_t device, nvmlPciInfo_t *pci) {
    nvmlPciInfo_t whole;
    nvmlReturn_t result = nvmlDeviceGetPciInfo_v3(device, &whole);
    if (result == NVML_SUCCESS && pci)
        memcpy(pci, &whole, offsetof(nvmlPciInfo_t, busId));
    return result;
}

API nvmlDeviceGetPciInfoExt(nvmlDevice_t device, nvmlPciInfoExt_t *pci) {
    nvmlPciInfo_t whole;
    nvmlReturn_t result = nvmlDeviceGetPciInfo_v3(device, &whole);
    if (result != NVML_SUCCESS || !pci)
        return result ? result : NVML_ERROR_INVALID_ARGUMENT;
    if (pci->version != (sizeof *pci | 1U << 24))
        return NVML_ERROR_ARGUMENT_VERSION_MISMATCH;
    pci->domain = whole.domain, pci->bus = whole.bus, pci->device = whole.device;
    pci->pciDeviceId = whole.pciDeviceId, pci->pciSubSystemId = whole.pciSubSystemId;
    pci->baseClass = 3, pci->subClass = 2;
    memcpy(pci->busId, whole.busId, sizeof pci->busId);
    return NVML_SUCCESS;
}

/* The driver keeps about 600 MiB of a data-centre card for itself. */
#define RESERVED_BYTES (600ULL << 20)

API nvmlDeviceGetMemoryInfo(nvmlDevice_t device, nvmlMemory_t *memory) {
    USE(device, memory)
    if (gpu->faults & SIM_MEMORY_UNKNOWN)
        return NVML_ERROR_NOT_SUPPORTED;
    memory->total = state.memory_mib << 20;
    memory->used = RESERVED_BYTES;
    memory->free = memory->total - memory->used;
    return NVML_SUCCESS;
}

API nvmlDeviceGetMemoryInfo_v2(nvmlDevice_t device, nvmlMemory_v2_t *memory) {
    USE(device, memory)
    if (memory->version != (sizeof *memory | 2U << 24))
        return NVML_ERROR_ARGUMENT_VERSION_MISMATCH;
    if (gpu->faults & SIM_MEMORY_UNKNOWN)
        return NVML_ERROR_NOT_SUPPORTED;
    memory->total = state.memory_mib << 20;
    memory->reserved = RESERVED_BYTES;
    memory->used = 0;
    memory->free = memory->total - memory->reserved;
    return NVML_SUCCESS;
}

API nvmlDeviceGetPersistenceMode(nvmlDevice_t device, unsigned *mode) {
    USE(device, mode)
    *mode = (unsigned)sim_persistence();
    return NVML_SUCCESS;
}

API nvmlDeviceGetComputeMode(nvmlDevice_t device, unsigned *mode) {
    USE(device, mode)
    *mode = 0;
    return NVML_SUCCESS;
}

API nvmlDeviceGetTemperature(nvmlDevice_t device, unsigned sensor, unsigned *celsius) {
    USE(device, celsius && sensor == 0)
    *celsius = 31;
    return NVML_SUCCESS;
}

API nvmlDeviceGetPowerUsage(nvmlDevice_t device, unsigned *milliwatts) {
    USE(device, milliwatts)
    *milliwatts = state.power_limit_mw / 10;
    return NVML_SUCCESS;
}

API nvmlDeviceGetPowerManagementLimit(nvmlDevice_t device, unsigned *milliwatts) {
    USE(device, milliwatts)
    *milliwatts = state.power_limit_mw;
    return NVML_SUCCESS;
}
API nvmlDeviceGetEnforcedPowerLimit(nvmlDevice_t device, unsigned *milliwatts) {
    return nvmlDeviceGetPowerManagementLimit(device, milliwatts);
}

API nvmlDeviceGetUtilizationRates(nvmlDevice_t device, unsigned *rates) {
    USE(device, rates)
    rates[0] = rates[1] = 0;
    return NVML_SUCCESS;
}

static nvmlReturn_t no_processes(nvmlDevice_t device, unsigned *count) {
    USE(device, count)
    *count = 0;
    return NVML_SUCCESS;
}
API nvmlDeviceGetComputeRunningProcesses_v3(nvmlDevice_t device, unsigned *count, void *list) {
    (void)list;
    return no_processes(device, count);
}
API nvmlDeviceGetComputeRunningProcesses_v2(nvmlDevice_t device, unsigned *count, void *list) {
    (void)list;
    return no_processes(device, count);
}

/* ---- health ---- */

API nvmlDeviceGetEccMode(nvmlDevice_t device, unsigned *current, unsigned *pending) {
    USE(device, current && pending)
    *current = *pending = 1;
    return NVML_SUCCESS;
}

API nvmlDeviceGetTotalEccErrors(nvmlDevice_t device, unsigned kind, unsigned counter, unsigned long long *count) {
    USE(device, count && kind <= 1 && counter <= 1)
    *count = kind == 1 && (gpu->faults & SIM_ECC) ? 1 : 0; /* kind 1: uncorrected */
    return NVML_SUCCESS;
}

API nvmlDeviceGetMemoryErrorCounter(nvmlDevice_t device, unsigned kind, unsigned counter, unsigned location,
                                    unsigned long long *count) {
    USE(device, count && kind <= 1 && counter <= 1)
    *count = kind == 1 && location == 2 && (gpu->faults & SIM_ECC) ? 1 : 0; /* location 2: device memory */
    return NVML_SUCCESS;
}

API nvmlDeviceGetRemappedRows(nvmlDevice_t device, unsigned *correctable, unsigned *uncorrectable, unsigned *pending,
                              unsigned *failed) {
    USE(device, correctable && uncorrectable && pending && failed)
    if (state.architecture < 7) /* row remapping came with Ampere */
        return NVML_ERROR_NOT_SUPPORTED;
    *correctable = 0;
    *uncorrectable = *failed = gpu->faults & SIM_ROW_REMAP ? 1 : 0;
    *pending = 0;
    return NVML_SUCCESS;
}

static unsigned char fabric_state(const sim_state *state) {
    return state->host_faults & SIM_FABRIC ? FABRIC_IN_PROGRESS : FABRIC_COMPLETED;
}

API nvmlDeviceGetGpuFabricInfo(nvmlDevice_t device, nvmlGpuFabricInfo_t *info) {
    USE(device, info)
    if (!state.fabric)
        return NVML_ERROR_NOT_SUPPORTED;
    memset(info, 0, sizeof *info);
    info->state = fabric_state(&state);
    return NVML_SUCCESS;
}

API nvmlDeviceGetGpuFabricInfoV(nvmlDevice_t device, nvmlGpuFabricInfoV_t *info) {
    USE(device, info)
    unsigned number = info->version >> 24;
    if (number != 2 && number != 3)
        return NVML_ERROR_ARGUMENT_VERSION_MISMATCH;
    if (!state.fabric)
        return NVML_ERROR_NOT_SUPPORTED;
    memset(info->clusterUuid, 0, sizeof info->clusterUuid);
    info->status = info->cliqueId = info->healthMask = 0;
    info->state = fabric_state(&state);
    if (number == 3)
        info->healthSummary = 1; /* healthy */
    return NVML_SUCCESS;
}

/* ---- where a device sits: one socket, one root complex ---- */

API nvmlDeviceGetTopologyCommonAncestor(nvmlDevice_t one, nvmlDevice_t other, unsigned *level) {
    USE(one, level)
    *level = TOPOLOGY_NODE;
    return use(other, &state, &gpu);
}

API nvmlDeviceGetCpuAffinity(nvmlDevice_t device, unsigned words, unsigned long *set) {
    USE(device, set && words)
    long processors = sysconf(_SC_NPROCESSORS_ONLN);
    memset(set, 0, words * sizeof *set);
    for (long i = 0; i < processors && i < (long)(words * 8 * sizeof *set); i++)
        set[i / 64] |= 1UL << (i % 64);
    return NVML_SUCCESS;
}

API nvmlDeviceOnSameBoard(nvmlDevice_t one, nvmlDevice_t other, int *same) {
    USE(one, same)
    *same = one == other;
    return use(other, &state, &gpu);
}

/* ---- events: a fault that appears while somebody waits is reported as its Xid ---- */

#define MAX_SETS 64

typedef struct {
    int taken;
    unsigned watched;            /* bit per hardware index */
    unsigned seen[SIM_MAX_GPUS]; /* faults reported, or there when the watch began */
} event_set;
typedef event_set *nvmlEventSet_t;
static event_set sets[MAX_SETS];

API nvmlEventSetCreate(nvmlEventSet_t *set) {
    if (!initialised)
        return NVML_ERROR_UNINITIALIZED;
    if (!set)
        return NVML_ERROR_INVALID_ARGUMENT;
    for (int i = 0; i < MAX_SETS; i++)
        if (!__atomic_exchange_n(&sets[i].taken, 1, __ATOMIC_SEQ_CST)) {
            sets[i].watched = 0;
            *set = &sets[i];
            return NVML_SUCCESS;
        }
    return NVML_ERROR_UNKNOWN;
}

API nvmlEventSetFree(nvmlEventSet_t set) {
    if (set < sets || set >= sets + MAX_SETS)
        return NVML_ERROR_INVALID_ARGUMENT;
    __atomic_store_n(&set->taken, 0, __ATOMIC_SEQ_CST);
    return NVML_SUCCESS;
}

API nvmlDeviceGetSupportedEventTypes(nvmlDevice_t device, unsigned long long *types) {
    USE(device, types)
    *types = EVENT_XID | EVENT_DOUBLE_BIT_ECC;
    return NVML_SUCCESS;
}

API nvmlDeviceRegisterEvents(nvmlDevice_t device, unsigned long long types, nvmlEventSet_t set) {
    USE(device, set >= sets && set < sets + MAX_SETS)
    if (types & ~(EVENT_XID | EVENT_DOUBLE_BIT_ECC))
        return NVML_ERROR_NOT_SUPPORTED;
    set->watched |= 1U << device->index;
    set->seen[device->index] = gpu->faults;
    return NVML_SUCCESS;
}

static unsigned xid_of(unsigned faults) {
    if (faults & SIM_LOST)
        return 79;
    if (faults & SIM_ECC)
        return 48;
    return faults & SIM_ROW_REMAP ? 64 : 0;
}

static int next_event(nvmlEventSet_t set, nvmlEventData_t *data) {
    sim_state state;
    if (sim_read(&state))
        return 0;
    for (int i = 0; i < state.count; i++) {
        unsigned fresh = state.gpu[i].faults & ~set->seen[i];
        if (!(set->watched >> i & 1))
            continue;
        set->seen[i] = state.gpu[i].faults;
        if (!xid_of(fresh))
            continue;
        *data = (nvmlEventData_t){&handles[i], EVENT_XID, xid_of(fresh), ~0U, ~0U};
        return 1;
    }
    return 0;
}

API nvmlEventSetWait_v2(nvmlEventSet_t set, nvmlEventData_t *data, unsigned timeout_ms) {
    struct timespec now, end;
    if (set < sets || set >= sets + MAX_SETS || !data)
        return NVML_ERROR_INVALID_ARGUMENT;
    clock_gettime(CLOCK_MONOTONIC, &end);
    end.tv_sec += timeout_ms / 1000;
    end.tv_nsec += (long)(timeout_ms % 1000) * 1000000;
    for (;;) {
        if (next_event(set, data))
            return NVML_SUCCESS;
        clock_gettime(CLOCK_MONOTONIC, &now);
        if ((end.tv_sec - now.tv_sec) * 1000L + (end.tv_nsec - now.tv_nsec) / 1000000L <= 0)
            return NVML_ERROR_TIMEOUT;
        usleep(timeout_ms < 200 ? 10000 : 200000);
    }
}
API nvmlEventSetWait(nvmlEventSet_t set, nvmlEventData_t *data, unsigned timeout_ms) {
    return nvmlEventSetWait_v2(set, data, timeout_ms);
}
