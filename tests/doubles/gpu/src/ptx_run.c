/* Test double: executes the PTX subset, one thread after the other. See ptx.h. */
#include "ptx.h"

#include <math.h>
#include <string.h>

#define MAX_STEPS 100000 /* per thread: a kernel that loops for ever is stopped, as a watchdog would */

typedef struct {
    const ptx_launch *launch;
    uint64_t reg[PTX_MAX_REGS];
    unsigned thread[3], block[3];
    long *stores;
} machine;

static float as_f32(uint64_t bits) {
    uint32_t low = (uint32_t)bits;
    float value;
    memcpy(&value, &low, sizeof value);
    return value;
}

static uint64_t from_f32(float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

static double as_f64(uint64_t bits) {
    double value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static uint64_t from_f64(double value) {
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

static uint64_t special(const machine *m, int index) {
    int axis = index % 3;
    switch (index / 3) {
    case 0: return m->thread[axis];
    case 1: return m->launch->block[axis];
    case 2: return m->block[axis];
    default: return m->launch->grid[axis];
    }
}

static uint64_t narrow(uint64_t value, int bits) { return bits == 32 ? (uint32_t)value : value; }

static uint64_t load(const machine *m, const ptx_operand *operand, int bits) {
    switch (operand->kind) {
    case OPERAND_REG: return narrow(m->reg[operand->index], bits);
    case OPERAND_SPECIAL: return special(m, operand->index);
    case OPERAND_PARAM: return narrow(m->launch->params[operand->index], bits);
    default: return narrow((uint64_t)operand->value, bits);
    }
}

static int64_t as_signed(uint64_t value, int bits) { return bits == 32 ? (int32_t)value : (int64_t)value; }

static uint64_t arithmetic(ptx_op op, ptx_type type, uint64_t a, uint64_t b, uint64_t c) {
    if (type.kind == 'f' && type.bits == 32) {
        float x = as_f32(a), y = as_f32(b), z = as_f32(c);
        return from_f32(op == OP_ADD ? x + y : op == OP_SUB ? x - y : op == OP_MUL ? x * y : fmaf(x, y, z));
    }
    if (type.kind == 'f') {
        double x = as_f64(a), y = as_f64(b), z = as_f64(c);
        return from_f64(op == OP_ADD ? x + y : op == OP_SUB ? x - y : op == OP_MUL ? x * y : fma(x, y, z));
    }
    return narrow(op == OP_ADD ? a + b : op == OP_SUB ? a - b : op == OP_MUL ? a * b : a * b + c, type.bits);
}

static uint64_t multiply_wide(ptx_type type, uint64_t a, uint64_t b, uint64_t c) {
    if (type.kind == 's')
        return (uint64_t)(as_signed(a, 32) * as_signed(b, 32)) + c;
    return a * b + c;
}

static int order(ptx_type type, uint64_t a, uint64_t b) { /* -1, 0, 1; 2 when a NaN is among them */
    if (type.kind == 'f') {
        double x = type.bits == 32 ? as_f32(a) : as_f64(a), y = type.bits == 32 ? as_f32(b) : as_f64(b);
        return isnan(x) || isnan(y) ? 2 : (x > y) - (x < y);
    }
    if (type.kind == 's') {
        int64_t x = as_signed(a, type.bits), y = as_signed(b, type.bits);
        return (x > y) - (x < y);
    }
    return (a > b) - (a < b);
}

static int compare(const ptx_instruction *code, uint64_t a, uint64_t b) {
    int sign = order(code->type, a, b);
    const char *how = code->compare;
    if (sign == 2)
        return 0;
    if (how[0] == 'e')
        return sign == 0;
    if (how[0] == 'n')
        return sign != 0;
    return (how[1] == 'e' && sign == 0) || sign == (how[0] == 'l' ? -1 : 1);
}

static ptx_outcome access_memory(machine *m, const ptx_instruction *code) {
    int storing = code->op == OP_ST_GLOBAL;
    const ptx_operand *place = &code->operand[storing ? 0 : 1];
    uint64_t address = m->reg[place->index] + (uint64_t)place->value;
    size_t size = (size_t)code->type.bits / 8;
    if (address % size)
        return PTX_MISALIGNED;
    void *memory = m->launch->resolve(m->launch->memory, address, size);
    if (!memory)
        return PTX_BAD_ADDRESS;
    if (storing) {
        uint64_t value = load(m, &code->operand[1], code->type.bits);
        if ((*m->stores)++ == m->launch->flip_store)
            value ^= 1u << 10;
        memcpy(memory, &value, size);
    } else {
        uint64_t value = 0;
        memcpy(&value, memory, size);
        m->reg[code->operand[0].index] = value;
    }
    return PTX_DONE;
}

static ptx_outcome execute(machine *m, const ptx_instruction *code) {
    int wide_sum = code->op == OP_MUL_WIDE && code->count == 4;
    uint64_t value[4] = {0};
    if (code->op == OP_LD_GLOBAL || code->op == OP_ST_GLOBAL)
        return access_memory(m, code);
    for (int i = 1; i < code->count; i++)
        value[i] = load(m, &code->operand[i], i == 3 && wide_sum ? 64 : code->type.bits);
    uint64_t *target = &m->reg[code->operand[0].index];
    switch (code->op) {
    case OP_MUL_WIDE: *target = multiply_wide(code->type, value[1], value[2], value[3]); break;
    case OP_SETP: *target = (uint64_t)compare(code, value[1], value[2]); break;
    case OP_MOV:
    case OP_CVTA:
    case OP_LD_PARAM: *target = value[1]; break;
    default: *target = arithmetic(code->op, code->type, value[1], value[2], value[3]);
    }
    return PTX_DONE;
}

static ptx_outcome run_thread(machine *m) {
    const ptx_kernel *kernel = m->launch->kernel;
    int place = 0;
    for (long step = 0; place < kernel->length; step++) {
        const ptx_instruction *code = &kernel->code[place++];
        if (step == MAX_STEPS)
            return PTX_TOO_LONG;
        if (code->guard >= 0 && (m->reg[code->guard] == 0) != code->guard_negated)
            continue;
        if (code->op == OP_RET)
            return PTX_DONE;
        if (code->op == OP_BRA) {
            place = code->target;
            continue;
        }
        ptx_outcome outcome = execute(m, code);
        if (outcome != PTX_DONE)
            return outcome;
    }
    return PTX_DONE;
}

/* Counts `index` up to the next point of a box; 0 when all were visited. */
static int advance(unsigned index[3], const unsigned limit[3]) {
    for (int axis = 0; axis < 3; axis++) {
        if (++index[axis] < limit[axis])
            return 1;
        index[axis] = 0;
    }
    return 0;
}

ptx_outcome ptx_run(const ptx_launch *launch) {
    long stores = 0;
    machine m = {.launch = launch, .stores = &stores};
    do {
        do {
            memset(m.reg, 0, sizeof m.reg);
            ptx_outcome outcome = run_thread(&m);
            if (outcome != PTX_DONE)
                return outcome;
        } while (advance(m.thread, launch->block));
    } while (advance(m.block, launch->grid));
    return PTX_DONE;
}
