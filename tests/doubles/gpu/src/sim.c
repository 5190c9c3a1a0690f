/* Test double: reads the simulated hardware. See sim.h. */
#include "sim.h"

#include <ctype.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define STATE_FILE "/opt/gpuctl-lab/gpus/state"
#define HELPER "/usr/bin/nvidia-modprobe"
#define MODULE_FILE "/dev/gpuctl-lab/module/version"

static const struct {
    const char *name;
    unsigned bit;
} FAULTS[] = {
    {"lost", SIM_LOST},
    {"unplugged", SIM_UNPLUGGED},
    {"ecc", SIM_ECC},
    {"row-remap", SIM_ROW_REMAP},
    {"fabric", SIM_FABRIC},
    {"hang", SIM_HANG},
    {"wrong-result", SIM_WRONG_RESULT},
    {"memory-unknown", SIM_MEMORY_UNKNOWN},
    {"version-mismatch", SIM_VERSION_MISMATCH},
};

/* Unit tests keep a whole host under a directory; on a lab host the prefix is empty. */
static void locate(char *path, size_t size, const char *name) {
    const char *root = getenv("GPUCTL_SIM_ROOT");
    snprintf(path, size, "%s%s", root ? root : "", name);
}

static int exists(const char *name) {
    char path[512];
    locate(path, sizeof path, name);
    return access(path, F_OK) == 0;
}

static long slurp(const char *name, char *text, size_t size) {
    char path[512];
    locate(path, sizeof path, name);
    FILE *file = fopen(path, "re");
    if (!file)
        return -1;
    size_t length = fread(text, 1, size - 1, file);
    fclose(file);
    text[length] = '\0';
    return (long)length;
}

static unsigned parse_faults(char *words) {
    unsigned faults = 0;
    char *rest = NULL;
    for (char *word = strtok_r(words, ",", &rest); word; word = strtok_r(NULL, ",", &rest))
        for (size_t i = 0; i < sizeof FAULTS / sizeof *FAULTS; i++)
            if (!strcmp(word, FAULTS[i].name))
                faults |= FAULTS[i].bit;
    return faults;
}

static void parse_gpu(sim_state *state, const char *line) {
    char faults[128] = "";
    if (state->count == SIM_MAX_GPUS)
        return;
    sim_gpu *gpu = &state->gpu[state->count];
    if (sscanf(line, "gpu %d %15s %47s %23s %127s", &gpu->minor, gpu->bus, gpu->uuid, gpu->serial, faults) < 4)
        return;
    gpu->faults = parse_faults(faults);
    state->host_faults |= gpu->faults;
    state->count++;
}

static void parse_line(sim_state *state, const char *line) {
    unsigned device = 0, vendor = 0;
    if (!strncmp(line, "name ", 5))
        snprintf(state->name, sizeof state->name, "%s", line + 5);
    else if (!strncmp(line, "gpu ", 4))
        parse_gpu(state, line);
    else if (sscanf(line, "pci %x %x", &device, &vendor) == 2)
        state->pci_id = device << 16 | vendor;
    else if (sscanf(line, "subsystem %x %x", &device, &vendor) == 2)
        state->pci_subsystem = device << 16 | vendor;
    else if (sscanf(line, "vbios %23s", state->vbios) == 1 || sscanf(line, "memory_mib %llu", &state->memory_mib) == 1 ||
             sscanf(line, "compute_capability %d.%d", &state->cc_major, &state->cc_minor) == 2 ||
             sscanf(line, "architecture %d", &state->architecture) == 1 || sscanf(line, "brand %d", &state->brand) == 1 ||
             sscanf(line, "multiprocessors %d", &state->multiprocessors) == 1 ||
             sscanf(line, "fabric %d", &state->fabric) == 1 ||
             sscanf(line, "power_limit_mw %u", &state->power_limit_mw) == 1)
        return;
}

static int parse_state(sim_state *state, char *text) {
    char *rest = NULL;
    int complete = 0;
    memset(state, 0, sizeof *state);
    for (char *line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
        complete = !strcmp(line, "end");
        parse_line(state, line);
    }
    return complete ? 0 : -1;
}

int sim_read(sim_state *state) {
    char text[8192];
    /* The file is rewritten in place, because containers hold it by inode: a half-written one lacks its last line. */
    for (int attempt = 0; attempt < 50; attempt++) {
        if (slurp(STATE_FILE, text, sizeof text) < 0)
            return -1;
        if (parse_state(state, text) == 0)
            return 0;
        usleep(2000);
    }
    return -1;
}

int sim_visible(const sim_state *state, int *indices) {
    int found = 0;
    for (int i = 0; i < state->count; i++) {
        char node[32];
        snprintf(node, sizeof node, "/dev/nvidia%d", state->gpu[i].minor);
        if (!(state->gpu[i].faults & SIM_UNPLUGGED) && exists(node))
            indices[found++] = i;
    }
    return found;
}

int sim_module_version(char *text, size_t size) {
    char line[1024], *rest = NULL;
    if (slurp(MODULE_FILE, line, sizeof line) < 0)
        return -1;
    for (char *word = strtok_r(line, " \n", &rest); word; word = strtok_r(NULL, " \n", &rest))
        if (isdigit((unsigned char)word[0]) && strchr(word, '.')) {
            snprintf(text, size, "%s", word);
            return 0;
        }
    return -1;
}

int sim_has_control_node(void) { return exists("/dev/nvidiactl"); }

void sim_make_nodes(void) {
    sim_state state;
    char option[SIM_MAX_GPUS][16];
    char *argv[SIM_MAX_GPUS + 4] = {"nvidia-modprobe", "-c255"};
    int visible[SIM_MAX_GPUS], count = 2, status;
    pid_t child;
    if (geteuid() != 0 || access(HELPER, X_OK) || getenv("GPUCTL_SIM_ROOT") || sim_read(&state) ||
        (sim_has_control_node() && sim_visible(&state, visible) == state.count))
        return;
    for (int i = 0; i < state.count; i++) {
        snprintf(option[i], sizeof option[i], "-c%d", state.gpu[i].minor);
        argv[count++] = option[i];
    }
    if (posix_spawn(&child, HELPER, NULL, NULL, argv, environ) == 0)
        waitpid(child, &status, 0);
}

int sim_persistence(void) { return exists("/run/nvidia-persistenced/nvidia-persistenced.pid"); }

void sim_hang(int index) {
    sim_state state;
    while (sim_read(&state) == 0 && index < state.count && (state.gpu[index].faults & SIM_HANG))
        usleep(100000);
}
