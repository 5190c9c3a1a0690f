/* Test double: nvidia-smi over the NVML double, in the forms that tools and people use most. */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef void *device;
typedef struct {
    char legacy[16];
    unsigned domain, bus, slot, pci_id, subsystem;
    char id[32];
} pci_info;
typedef struct {
    unsigned long long total, free, used;
} memory_info;

static int (*init)(void), (*count_of)(unsigned *), (*by_index)(unsigned, device *), (*cuda_version)(int *);
static int (*driver_version)(char *, unsigned), (*capability)(device, int *, int *), (*memory)(device, memory_info *);
static int (*name_of)(device, char *, unsigned), (*uuid_of)(device, char *, unsigned), (*pci_of)(device, pci_info *);
static int (*serial_of)(device, char *, unsigned), (*persistence)(device, unsigned *), (*vbios)(device, char *, unsigned);
static int (*ecc_errors)(device, unsigned, unsigned, unsigned long long *), (*power)(device, unsigned *);
static int (*limit)(device, unsigned *), (*temperature)(device, unsigned, unsigned *);
static int (*rows)(device, unsigned *, unsigned *, unsigned *, unsigned *);
static const char *(*error_string)(int);

static const struct {
    const char *name;
    void *slot;
} SYMBOLS[] = {
    {"nvmlInit_v2", &init}, {"nvmlDeviceGetCount_v2", &count_of}, {"nvmlDeviceGetHandleByIndex_v2", &by_index},
    {"nvmlSystemGetCudaDriverVersion", &cuda_version}, {"nvmlSystemGetDriverVersion", &driver_version},
    {"nvmlDeviceGetCudaComputeCapability", &capability}, {"nvmlDeviceGetMemoryInfo", &memory},
    {"nvmlDeviceGetName", &name_of}, {"nvmlDeviceGetUUID", &uuid_of}, {"nvmlDeviceGetPciInfo_v3", &pci_of},
    {"nvmlDeviceGetSerial", &serial_of}, {"nvmlDeviceGetPersistenceMode", &persistence},
    {"nvmlDeviceGetVbiosVersion", &vbios}, {"nvmlDeviceGetTotalEccErrors", &ecc_errors},
    {"nvmlDeviceGetPowerUsage", &power}, {"nvmlDeviceGetEnforcedPowerLimit", &limit},
    {"nvmlDeviceGetTemperature", &temperature}, {"nvmlDeviceGetRemappedRows", &rows}, {"nvmlErrorString", &error_string},
};

/* Exit codes are nvidia-smi's own: 2 bad argument, 6 not found, 9 driver not loaded, 12 library missing, 15 lost. */
static int load(void) {
    void *library = dlopen("libnvidia-ml.so.1", RTLD_NOW);
    if (!library) {
        puts("NVIDIA-SMI couldn't find libnvidia-ml.so library in your system. Please make sure that the NVIDIA Display "
             "Driver is properly installed and present in your system.");
        return 12;
    }
    for (size_t i = 0; i < sizeof SYMBOLS / sizeof *SYMBOLS; i++)
        *(void **)SYMBOLS[i].slot = dlsym(library, SYMBOLS[i].name);
    int result = init();
    if (result == 9)
        puts("NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver. Make sure that the latest "
             "NVIDIA driver is installed and running.");
    else if (result)
        printf("Failed to initialize NVML: %s\n", error_string(result));
    return result;
}

/* ---- fields of --query-gpu ---- */

static void number(char *out, size_t size, int result, unsigned long long value, const char *unit, int units) {
    if (result)
        snprintf(out, size, "[N/A]");
    else
        snprintf(out, size, "%llu%s%s", value, units && *unit ? " " : "", units ? unit : "");
}

static int query_numbers(const char *field, unsigned index, device gpu, char *out, size_t size, int units) {
    memory_info m = {0};
    unsigned a = 0, b = 0, c = 0, d = 0;
    unsigned long long errors = 0;
    int result = 0;
    if (!strcmp(field, "index"))
        number(out, size, 0, index, "", units);
    else if (!strcmp(field, "count"))
        number(out, size, count_of(&a), a, "", units);
    else if (!strncmp(field, "memory.", 7)) {
        result = memory(gpu, &m);
        unsigned long long bytes = !strcmp(field, "memory.total") ? m.total : !strcmp(field, "memory.used") ? m.used : m.free;
        number(out, size, result, bytes >> 20, "MiB", units);
    } else if (!strcmp(field, "temperature.gpu")) {
        result = temperature(gpu, 0, &a);
        number(out, size, result, a, "", units);
    } else if (!strncmp(field, "power.", 6)) {
        result = !strcmp(field, "power.draw") ? power(gpu, &a) : limit(gpu, &a);
        snprintf(out, size, result ? "[N/A]" : "%.2f%s", a / 1000.0, units ? " W" : "");
    } else if (!strncmp(field, "utilization.", 12))
        number(out, size, 0, 0, "%", units);
    else if (!strcmp(field, "ecc.errors.uncorrected.volatile.total")) {
        result = ecc_errors(gpu, 1, 0, &errors);
        number(out, size, result, errors, "", units);
    } else if (!strcmp(field, "remapped_rows.failure")) {
        result = rows(gpu, &a, &b, &c, &d);
        snprintf(out, size, "%s", result ? "[N/A]" : d ? "Yes" : "No");
    } else
        return -1;
    return 0;
}

static int query(const char *field, unsigned index, device gpu, char *out, size_t size, int units) {
    pci_info pci;
    int major = 0, minor = 0;
    unsigned mode = 0;
    snprintf(out, size, "[N/A]");
    if (!strcmp(field, "name") || !strcmp(field, "gpu_name"))
        return name_of(gpu, out, (unsigned)size);
    if (!strcmp(field, "uuid") || !strcmp(field, "gpu_uuid"))
        return uuid_of(gpu, out, (unsigned)size);
    if (!strcmp(field, "serial") || !strcmp(field, "gpu_serial"))
        return serial_of(gpu, out, (unsigned)size);
    if (!strcmp(field, "vbios_version"))
        return vbios(gpu, out, (unsigned)size);
    if (!strcmp(field, "driver_version"))
        return driver_version(out, (unsigned)size);
    if (!strcmp(field, "mig.mode.current") || !strcmp(field, "mig.mode.pending"))
        return 0;
    if (!strcmp(field, "ecc.mode.current"))
        return snprintf(out, size, "Enabled") < 0;
    if (!strcmp(field, "pci.bus_id") || !strcmp(field, "gpu_bus_id")) {
        int result = pci_of(gpu, &pci);
        if (!result)
            snprintf(out, size, "%s", pci.id);
        return result;
    }
    if (!strcmp(field, "compute_cap")) {
        int result = capability(gpu, &major, &minor);
        snprintf(out, size, "%d.%d", major, minor);
        return result;
    }
    if (!strcmp(field, "persistence_mode")) {
        int result = persistence(gpu, &mode);
        snprintf(out, size, "%s", mode ? "Enabled" : "Disabled");
        return result;
    }
    return query_numbers(field, index, gpu, out, size, units);
}

static int each(int wanted, int (*visit)(unsigned, device, void *), void *argument) {
    unsigned count = 0;
    int worst = 0;
    if (count_of(&count))
        return 255;
    if (wanted >= (int)count) {
        puts("No devices were found");
        return 6;
    }
    for (unsigned i = 0; i < count; i++) {
        device gpu = NULL;
        if (wanted >= 0 && (unsigned)wanted != i)
            continue;
        int result = by_index(i, &gpu);
        if (result) {
            printf("Unable to determine the device handle for GPU%u: %s\n", i, error_string(result));
            worst = result;
            continue;
        }
        result = visit(i, gpu, argument);
        if (result == 2)
            return 2;
        worst = result ? result : worst;
    }
    if (!count)
        puts("No devices were found");
    return count ? worst : 6;
}

struct csv {
    const char *fields;
    int units, header;
};

static int visit_csv(unsigned index, device gpu, void *argument) {
    struct csv *csv = argument;
    char fields[1024], value[128], *rest = NULL;
    const char *separator = "";
    snprintf(fields, sizeof fields, "%s", csv->fields);
    for (char *field = strtok_r(fields, ", ", &rest); field; field = strtok_r(NULL, ", ", &rest)) {
        if (query(field, index, gpu, value, sizeof value, csv->units) < 0) {
            printf("Field \"%s\" is not a valid field to query.\n", field);
            return 2;
        }
        printf("%s%s", separator, value);
        separator = ", ";
    }
    puts("");
    return 0;
}

static int list_line(unsigned index, device gpu, void *argument) {
    char name[96] = "", uuid[96] = "";
    (void)argument;
    name_of(gpu, name, sizeof name);
    uuid_of(gpu, uuid, sizeof uuid);
    printf("GPU %u: %s (UUID: %s)\n", index, name, uuid);
    return 0;
}

static int details(unsigned index, device gpu, void *argument) {
    static const char *const fields[][2] = {{"Product Name", "name"}, {"Persistence Mode", "persistence_mode"},
        {"Serial Number", "serial"}, {"GPU UUID", "uuid"}, {"VBIOS Version", "vbios_version"},
        {"FB Memory Total", "memory.total"}, {"Current ECC Mode", "ecc.mode.current"},
        {"Uncorrectable ECC Errors", "ecc.errors.uncorrected.volatile.total"},
        {"Remapping Failure Occurred", "remapped_rows.failure"}, {"GPU Current Temp", "temperature.gpu"}};
    char value[128];
    (void)argument;
    query("pci.bus_id", index, gpu, value, sizeof value, 1);
    printf("\nGPU %s\n", value);
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) {
        query(fields[i][1], index, gpu, value, sizeof value, 1);
        printf("    %-38s: %s\n", fields[i][0], value);
    }
    return 0;
}

static int table_row(unsigned index, device gpu, void *argument) {
    char name[96], bus[64], used[64], total[64], mode[64], watts[64], cap[64], degrees[64];
    (void)argument;
    query("name", index, gpu, name, sizeof name, 1);
    query("pci.bus_id", index, gpu, bus, sizeof bus, 1);
    query("memory.used", index, gpu, used, sizeof used, 0);
    query("memory.total", index, gpu, total, sizeof total, 0);
    query("persistence_mode", index, gpu, mode, sizeof mode, 1);
    query("power.draw", index, gpu, watts, sizeof watts, 0);
    query("power.limit", index, gpu, cap, sizeof cap, 0);
    query("temperature.gpu", index, gpu, degrees, sizeof degrees, 0);
    printf("| %3u  %-24.24s %8s | %16s  Off | %20s |\n", index, name, !strcmp(mode, "Enabled") ? "On" : "Off", bus, "0");
    printf("| N/A  %3sC    P0  %6.6s W / %6.6s W | %6.6sMiB / %6.6sMiB | %11s  Default |\n", degrees, watts, cap, used, total, "0%");
    puts("+-----------------------------------------+------------------------+----------------------+");
    return 0;
}

static int table(int wanted) {
    char driver[80] = "";
    int cuda = 0;
    driver_version(driver, sizeof driver);
    cuda_version(&cuda);
    puts("+-----------------------------------------------------------------------------------------+");
    printf("| NVIDIA-SMI %-22s Driver Version: %-14s CUDA Version: %2d.%-5d |\n", driver, driver, cuda / 1000, cuda % 1000 / 10);
    puts("+-----------------------------------------+------------------------+----------------------+");
    int result = each(wanted, table_row, NULL);
    puts("|  No running processes found                                                             |");
    puts("+-----------------------------------------------------------------------------------------+");
    return result;
}

int main(int argc, char **argv) {
    struct csv csv = {NULL, 1, 1};
    int wanted = -1, list = 0, all = 0;
    for (int i = 1; i < argc; i++) {
        const char *word = argv[i];
        if (!strcmp(word, "-L") || !strcmp(word, "--list-gpus"))
            list = 1;
        else if (!strcmp(word, "-q") || !strcmp(word, "--query"))
            all = 1;
        else if (!strncmp(word, "--query-gpu=", 12))
            csv.fields = word + 12;
        else if (!strncmp(word, "--format=csv", 12)) {
            csv.header = !strstr(word, "noheader");
            csv.units = !strstr(word, "nounits");
        } else if (!strncmp(word, "--id=", 5))
            wanted = atoi(word + 5);
        else if ((!strcmp(word, "-i") || !strcmp(word, "--id")) && i + 1 < argc)
            wanted = atoi(argv[++i]);
        else {
            printf("Invalid combination of input arguments. Please run 'nvidia-smi -h' for help.\n");
            return 2;
        }
    }
    int result = load();
    if (result)
        return result;
    if (list)
        return each(wanted, list_line, NULL);
    if (all)
        return each(wanted, details, NULL);
    if (!csv.fields)
        return table(wanted);
    if (csv.header)
        printf("%s\n", csv.fields);
    return each(wanted, visit_csv, &csv);
}
