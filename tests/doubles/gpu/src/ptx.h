/* Test double: a small subset of PTX, parsed strictly and executed on plain memory.
 *
 * Anything outside the subset is refused, so that a kernel which the real compiler would reject, or which this
 * interpreter would only pretend to run, never looks as if it had worked. */
#ifndef PTX_H
#define PTX_H

#include <stddef.h>
#include <stdint.h>

#define PTX_MAX_PARAMS 16
#define PTX_MAX_REGS 256
#define PTX_MAX_CODE 512
#define PTX_MAX_LABELS 32
#define PTX_NAME 64

typedef struct {
    char kind; /* 'b' bits, 'u' unsigned, 's' signed, 'f' float, 'p' predicate; 0 none */
    int bits;
} ptx_type;

typedef enum { OPERAND_NONE, OPERAND_REG, OPERAND_IMMEDIATE, OPERAND_SPECIAL, OPERAND_PARAM, OPERAND_ADDRESS } ptx_kind;

typedef struct {
    ptx_kind kind;
    int index;     /* register, special register or parameter */
    int64_t value; /* immediate bits, or offset of an address */
} ptx_operand;

typedef enum { OP_ADD, OP_SUB, OP_MUL, OP_MUL_WIDE, OP_MAD, OP_FMA, OP_MOV, OP_CVTA, OP_SETP, OP_BRA, OP_RET,
               OP_LD_PARAM, OP_LD_GLOBAL, OP_ST_GLOBAL } ptx_op;

typedef struct {
    ptx_op op;
    ptx_type type;
    char compare[4];
    int guard, guard_negated; /* predicate register, or -1 */
    int target;               /* of a branch: index into the code */
    int count;
    ptx_operand operand[4];
} ptx_instruction;

typedef struct {
    char name[PTX_NAME];
    ptx_type type;
} ptx_symbol;

typedef struct {
    char name[PTX_NAME];
    ptx_symbol param[PTX_MAX_PARAMS], reg[PTX_MAX_REGS];
    ptx_instruction code[PTX_MAX_CODE];
    int params, regs, length;
} ptx_kernel;

typedef struct {
    int target; /* 50 for sm_50 */
    ptx_kernel kernel;
} ptx_module;

/* Parse a module with one kernel; 0, or -1 with the reason and its line in `error`. */
int ptx_parse(const char *text, ptx_module *module, char *error, size_t error_size);

typedef enum { PTX_DONE, PTX_BAD_ADDRESS, PTX_MISALIGNED, PTX_TOO_LONG } ptx_outcome;

/* Turns a device address into memory of this process: NULL when [address, address + size) is not one allocation's. */
typedef void *(*ptx_resolve)(void *memory, uint64_t address, size_t size);

typedef struct {
    const ptx_kernel *kernel;
    const uint64_t *params;
    unsigned grid[3], block[3];
    ptx_resolve resolve;
    void *memory;
    long flip_store; /* number of the store in which one bit is flipped, or -1: a broken multiplier or memory cell */
} ptx_launch;

ptx_outcome ptx_run(const ptx_launch *launch);

#endif
