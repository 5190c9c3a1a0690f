/* Test double: the simulated hardware that the NVML and CUDA doubles share.
 *
 * The hardware is a text file that the lab writes (see hardware.py); a "loaded kernel module" is the version
 * file that the driver package's load-module script writes. Both reach a container because the driver package
 * gives them names that end in the driver version, which is how the container toolkit finds what to mount. */
#ifndef SIM_H
#define SIM_H

#include <stddef.h>

#define SIM_MAX_GPUS 16

enum sim_fault {
    SIM_LOST = 1 << 0,             /* fell off the bus: Xid 79 */
    SIM_UNPLUGGED = 1 << 1,        /* gone from PCI and from the driver */
    SIM_ECC = 1 << 2,              /* double-bit error: Xid 48 */
    SIM_ROW_REMAP = 1 << 3,        /* row remapping failed: Xid 64 */
    SIM_FABRIC = 1 << 4,           /* fabric not ready (the whole host) */
    SIM_HANG = 1 << 5,             /* calls on this GPU do not return */
    SIM_WRONG_RESULT = 1 << 6,     /* computes, silently wrong */
    SIM_MEMORY_UNKNOWN = 1 << 7,   /* memory size is not reported */
    SIM_VERSION_MISMATCH = 1 << 8, /* module and library differ (the whole host) */
};

typedef struct {
    char bus[16]; /* 0000:01:00.0 */
    char uuid[48];
    char serial[24];
    int minor;
    unsigned faults;
} sim_gpu;

typedef struct {
    char name[64];
    char vbios[24];
    unsigned pci_id; /* device << 16 | vendor */
    unsigned pci_subsystem;
    unsigned long long memory_mib;
    int cc_major, cc_minor;
    int architecture, brand, multiprocessors, fabric;
    unsigned power_limit_mw;
    unsigned host_faults; /* union over the GPUs */
    int count;
    sim_gpu gpu[SIM_MAX_GPUS];
} sim_state;

/* Read the hardware; 0, or -1 when there is none or it cannot be parsed. */
int sim_read(sim_state *state);

/* Hardware indices of the GPUs whose device node this process sees; returns how many. */
int sim_visible(const sim_state *state, int *indices);

/* Version of the loaded kernel module, from its /proc text; 0, or -1 when no module is loaded. */
int sim_module_version(char *text, size_t size);

/* Whether the control device node exists for this process. */
int sim_has_control_node(void);

/* As the real library does for root on a host: have the helper load the module and make missing device nodes. */
void sim_make_nodes(void);

/* Whether the persistence daemon runs. */
int sim_persistence(void);

/* Block for as long as the GPU has the hang fault. */
void sim_hang(int index);

#endif
