/* Test double: parser of the PTX subset. See ptx.h. */
#include "ptx.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    const char *at;
    int line, failed;
    char *error;
    size_t error_size;
    char word[PTX_NAME];
    ptx_module *module;
    struct {
        char name[PTX_NAME];
        int place;
    } label[PTX_MAX_LABELS];
    int labels;
    char jump[PTX_MAX_CODE][PTX_NAME]; /* label of each branch, resolved at the end */
} parser;

static void fail(parser *p, const char *format, ...) {
    char reason[160];
    va_list arguments;
    if (p->failed)
        return;
    va_start(arguments, format);
    vsnprintf(reason, sizeof reason, format, arguments);
    va_end(arguments);
    p->failed = 1;
    if (p->error_size)
        snprintf(p->error, p->error_size, "ptxas application ptx input, line %d; fatal : %s", p->line, reason);
}

/* ---- words ---- */

static void skip_space(parser *p) {
    for (;;) {
        if (p->at[0] == '/' && p->at[1] == '/')
            p->at += strcspn(p->at, "\n");
        else if (p->at[0] == '/' && p->at[1] == '*') {
            const char *end = strstr(p->at, "*/");
            const char *stop = end ? end + 2 : p->at + strlen(p->at);
            for (; p->at < stop; p->at++)
                p->line += *p->at == '\n';
        } else if (isspace((unsigned char)*p->at))
            p->line += *p->at++ == '\n';
        else
            return;
    }
}

/* The next word: an identifier, a directive, an opcode with its suffixes or a number, else one character. */
static const char *next(parser *p) {
    size_t length;
    skip_space(p);
    length = strspn(p->at, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_$%.");
    if (length == 0 && *p->at)
        length = 1;
    if (length >= sizeof p->word) {
        fail(p, "name too long");
        length = sizeof p->word - 1;
    }
    memcpy(p->word, p->at, length);
    p->word[length] = '\0';
    p->at += length;
    return p->word;
}

static int peek(parser *p, char c) {
    skip_space(p);
    return *p->at == c;
}

static int accept(parser *p, char c) {
    if (!peek(p, c))
        return 0;
    p->at++;
    return 1;
}

static void expect(parser *p, char c) {
    if (!accept(p, c))
        fail(p, "expected '%c' near '%.12s'", c, p->at);
}

static int is(const char *word, const char *other) { return !strcmp(word, other); }

/* ---- types and names ---- */

static int parse_type(const char *suffix, ptx_type *type) {
    static const char *const known[] = {"pred", "b32", "b64", "u32", "u64", "s32", "s64", "f32", "f64"};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (is(suffix, known[i])) {
            *type = i ? (ptx_type){known[i][0], atoi(known[i] + 1)} : (ptx_type){'p', 1};
            return 1;
        }
    return 0;
}

static int find(const ptx_symbol *symbols, int count, const char *name) {
    for (int i = 0; i < count; i++)
        if (is(symbols[i].name, name))
            return i;
    return -1;
}

static void declare(parser *p, ptx_symbol *symbols, int *count, int limit, const char *name, ptx_type type) {
    if (find(symbols, *count, name) >= 0)
        fail(p, "duplicate definition of '%s'", name);
    else if (*count == limit)
        fail(p, "too many names");
    else {
        snprintf(symbols[*count].name, PTX_NAME, "%s", name);
        symbols[(*count)++].type = type;
    }
}

/* What an operand of an instruction of type `wanted` may be: same size, and no integer where a float is meant. */
static int compatible(ptx_type wanted, ptx_type have) {
    if (wanted.bits != have.bits || (wanted.kind == 'p') != (have.kind == 'p'))
        return 0;
    return wanted.kind == 'b' || have.kind == 'b' || (wanted.kind == 'f') == (have.kind == 'f');
}

/* ---- operands ---- */

static const char *const SPECIAL[] = {"%tid.x",    "%tid.y",    "%tid.z",    "%ntid.x",   "%ntid.y",   "%ntid.z",
                                      "%ctaid.x",  "%ctaid.y",  "%ctaid.z",  "%nctaid.x", "%nctaid.y", "%nctaid.z"};

static int number(const char *word, ptx_type type, int64_t *bits) {
    char *end;
    if (type.kind == 'f') {
        int wide = type.bits == 64;
        if (word[0] != '0' || tolower((unsigned char)word[1]) != (wide ? 'd' : 'f') || strlen(word) != (wide ? 18u : 10u))
            return 0;
        *bits = (int64_t)strtoull(word + 2, &end, 16);
    } else
        *bits = (int64_t)strtoull(word, &end, 0);
    return *end == '\0' && isdigit((unsigned char)word[0]);
}

static ptx_operand parse_value(parser *p, ptx_type type) {
    ptx_kernel *kernel = &p->module->kernel;
    ptx_operand operand = {OPERAND_NONE, 0, 0};
    int negative = accept(p, '-');
    const char *word = next(p);
    int reg = find(kernel->reg, kernel->regs, word);
    if (!negative && reg >= 0) {
        if (!compatible(type, kernel->reg[reg].type))
            fail(p, "type of '%s' does not match instruction", word);
        return (ptx_operand){OPERAND_REG, reg, 0};
    }
    for (int i = 0; !negative && i < 12; i++)
        if (is(word, SPECIAL[i])) {
            if (type.bits != 32 || type.kind == 'f')
                fail(p, "special register '%s' needs a 32-bit integer instruction", word);
            return (ptx_operand){OPERAND_SPECIAL, i, 0};
        }
    if (type.kind == 'p' || !number(word, type, &operand.value))
        fail(p, "unknown symbol '%s'", word);
    operand.kind = OPERAND_IMMEDIATE;
    if (negative)
        operand.value = -operand.value;
    return operand;
}

static ptx_operand parse_register(parser *p, ptx_type type) {
    ptx_operand operand = parse_value(p, type);
    if (operand.kind != OPERAND_REG)
        fail(p, "expected a register, found '%s'", p->word);
    return operand;
}

static ptx_operand parse_memory(parser *p, int of_parameter, ptx_type type) {
    ptx_kernel *kernel = &p->module->kernel;
    ptx_operand operand = {OPERAND_ADDRESS, 0, 0};
    int64_t offset = 0;
    expect(p, '[');
    if (of_parameter) {
        operand.kind = OPERAND_PARAM;
        operand.index = find(kernel->param, kernel->params, next(p));
        if (operand.index < 0)
            fail(p, "unknown parameter '%s'", p->word);
        else if (kernel->param[operand.index].type.bits != type.bits)
            fail(p, "size of parameter '%s' does not match instruction", p->word);
    } else {
        operand.index = parse_register(p, (ptx_type){'b', 64}).index;
        if (accept(p, '+') && !number(next(p), (ptx_type){'s', 64}, &offset))
            fail(p, "bad offset '%s'", p->word);
        operand.value = offset;
    }
    expect(p, ']');
    return operand;
}

/* ---- instructions: how each opcode of the subset is spelt ---- */

typedef struct {
    const char *prefix;
    ptx_op op;
    const char *types;  /* instruction types that this spelling takes */
    const char *layout; /* operands: d destination, s source, D/A twice as wide, p predicate, m global, P parameter */
} spelling;

#define INTEGERS " u32 s32 u64 s64 "
#define FLOATS " f32 f64 "
static const spelling SPELLINGS[] = {
    {"add.rn", OP_ADD, FLOATS, "dss"},       {"add", OP_ADD, INTEGERS FLOATS, "dss"},
    {"sub.rn", OP_SUB, FLOATS, "dss"},       {"sub", OP_SUB, INTEGERS FLOATS, "dss"},
    {"mul.rn", OP_MUL, FLOATS, "dss"},       {"mul.lo", OP_MUL, INTEGERS, "dss"},
    {"mul.wide", OP_MUL_WIDE, " u32 s32 ", "Dss"}, {"mul", OP_MUL, FLOATS, "dss"},
    {"mad.wide", OP_MUL_WIDE, " u32 s32 ", "DssA"}, {"mad.lo", OP_MAD, INTEGERS, "dsss"},
    {"fma.rn", OP_FMA, FLOATS, "dsss"},      {"mov", OP_MOV, INTEGERS FLOATS " b32 b64 pred ", "ds"},
    {"cvta.to.global", OP_CVTA, " u64 ", "ds"},
    {"ld.param", OP_LD_PARAM, INTEGERS FLOATS " b32 b64 ", "dP"},
    {"ld.global", OP_LD_GLOBAL, INTEGERS FLOATS " b32 b64 ", "dm"},
    {"st.global", OP_ST_GLOBAL, INTEGERS FLOATS " b32 b64 ", "ms"},
};

static void parse_operands(parser *p, ptx_instruction *code, const char *layout) {
    ptx_type wide = {code->type.kind, code->type.bits * 2};
    for (; *layout && !p->failed; layout++) {
        ptx_operand *operand = &code->operand[code->count++];
        if (*layout == 'd')
            *operand = parse_register(p, code->type);
        else if (*layout == 'D')
            *operand = parse_register(p, wide);
        else if (*layout == 'p')
            *operand = parse_register(p, (ptx_type){'p', 1});
        else if (*layout == 'm' || *layout == 'P')
            *operand = parse_memory(p, *layout == 'P', code->type);
        else
            *operand = parse_value(p, *layout == 'A' ? wide : code->type);
        if (layout[1])
            expect(p, ',');
    }
}

static int parse_setp(ptx_instruction *code, const char *opcode) {
    static const char *const known[] = {"eq", "ne", "lt", "le", "gt", "ge"};
    if (strncmp(opcode, "setp.", 5) || strlen(opcode) != 11 || opcode[7] != '.')
        return 0;
    for (size_t i = 0; i < 6; i++)
        if (!strncmp(opcode + 5, known[i], 2) && parse_type(opcode + 8, &code->type) && code->type.kind != 'b') {
            code->op = OP_SETP;
            snprintf(code->compare, sizeof code->compare, "%s", known[i]);
            return 1;
        }
    return 0;
}

static const char *parse_opcode(parser *p, ptx_instruction *code, const char *opcode) {
    const char *suffix = strrchr(opcode, '.');
    char padded[16];
    if (parse_setp(code, opcode))
        return "pss";
    snprintf(padded, sizeof padded, " %.8s ", suffix ? suffix + 1 : "");
    for (size_t i = 0; suffix && i < sizeof SPELLINGS / sizeof *SPELLINGS; i++) {
        const spelling *s = &SPELLINGS[i];
        if (strlen(s->prefix) == (size_t)(suffix - opcode) && !strncmp(s->prefix, opcode, strlen(s->prefix)) &&
            strstr(s->types, padded) && parse_type(suffix + 1, &code->type)) {
            code->op = s->op;
            return s->layout;
        }
    }
    fail(p, "instruction '%s' is not in the subset that this test double executes", opcode);
    return "";
}

static void parse_instruction(parser *p, const char *first) {
    ptx_kernel *kernel = &p->module->kernel;
    ptx_instruction *code = &kernel->code[kernel->length];
    char opcode[PTX_NAME];
    *code = (ptx_instruction){.guard = -1};
    if (is(first, "@")) {
        code->guard_negated = accept(p, '!');
        code->guard = parse_register(p, (ptx_type){'p', 1}).index;
        first = next(p);
    }
    snprintf(opcode, sizeof opcode, "%s", first);
    if (is(opcode, "ret"))
        code->op = OP_RET;
    else if (is(opcode, "bra") || is(opcode, "bra.uni")) {
        code->op = OP_BRA;
        snprintf(p->jump[kernel->length], PTX_NAME, "%s", next(p));
    } else
        parse_operands(p, code, parse_opcode(p, code, opcode));
    expect(p, ';');
    if (++kernel->length == PTX_MAX_CODE)
        fail(p, "kernel too long for this test double");
}

/* ---- kernels and modules ---- */

static ptx_type parse_type_directive(parser *p) {
    ptx_type type = {0, 0};
    const char *word = next(p);
    if (word[0] != '.' || !parse_type(word + 1, &type))
        fail(p, "unknown type '%s'", word);
    return type;
}

static void parse_registers(parser *p) {
    ptx_kernel *kernel = &p->module->kernel;
    ptx_type type = parse_type_directive(p);
    do {
        char base[PTX_NAME], name[PTX_NAME + 12];
        snprintf(base, sizeof base, "%s", next(p));
        if (accept(p, '<')) {
            int count = atoi(next(p));
            expect(p, '>');
            for (int i = 0; i < count && !p->failed; i++) {
                snprintf(name, sizeof name, "%s%d", base, i);
                declare(p, kernel->reg, &kernel->regs, PTX_MAX_REGS, name, type);
            }
        } else
            declare(p, kernel->reg, &kernel->regs, PTX_MAX_REGS, base, type);
    } while (!p->failed && accept(p, ','));
    expect(p, ';');
}

static void parse_params(parser *p) {
    ptx_kernel *kernel = &p->module->kernel;
    expect(p, '(');
    while (!p->failed && !accept(p, ')')) {
        if (!is(next(p), ".param"))
            fail(p, "expected .param, found '%s'", p->word);
        ptx_type type = parse_type_directive(p);
        declare(p, kernel->param, &kernel->params, PTX_MAX_PARAMS, next(p), type);
        if (!peek(p, ')'))
            expect(p, ',');
    }
}

static void resolve_jumps(parser *p) {
    ptx_kernel *kernel = &p->module->kernel;
    for (int i = 0; i < kernel->length; i++) {
        if (kernel->code[i].op != OP_BRA)
            continue;
        kernel->code[i].target = -1;
        for (int j = 0; j < p->labels; j++)
            if (is(p->label[j].name, p->jump[i]))
                kernel->code[i].target = p->label[j].place;
        if (kernel->code[i].target < 0)
            fail(p, "unknown label '%s'", p->jump[i]);
    }
}

static void parse_body(parser *p) {
    ptx_kernel *kernel = &p->module->kernel;
    expect(p, '{');
    while (!p->failed && !accept(p, '}')) {
        const char *word = next(p);
        if (is(word, ".reg"))
            parse_registers(p);
        else if (!is(word, "@") && peek(p, ':')) {
            if (p->labels == PTX_MAX_LABELS)
                fail(p, "too many labels");
            else {
                snprintf(p->label[p->labels].name, PTX_NAME, "%s", word);
                p->label[p->labels++].place = kernel->length;
            }
            expect(p, ':');
        } else if (!*word)
            fail(p, "unexpected end of input");
        else
            parse_instruction(p, word);
    }
    resolve_jumps(p);
}

static void parse_header(parser *p) {
    if (!is(next(p), ".version") || atof(next(p)) < 1.0)
        fail(p, "missing .version directive");
    if (!is(next(p), ".target") || sscanf(next(p), "sm_%d", &p->module->target) != 1)
        fail(p, "missing .target directive");
    if (!is(next(p), ".address_size") || !is(next(p), "64"))
        fail(p, "only .address_size 64 is known");
}

int ptx_parse(const char *text, ptx_module *module, char *error, size_t error_size) {
    parser *p = calloc(1, sizeof *p);
    if (!p)
        return -1;
    *p = (parser){.at = text, .line = 1, .error = error, .error_size = error_size, .module = module};
    memset(module, 0, sizeof *module);
    parse_header(p);
    if (!is(next(p), ".visible") || !is(next(p), ".entry"))
        fail(p, "expected .visible .entry, found '%s'", p->word);
    snprintf(module->kernel.name, PTX_NAME, "%s", next(p));
    parse_params(p);
    parse_body(p);
    skip_space(p);
    if (!p->failed && *p->at)
        fail(p, "one kernel per module, found '%.12s'", p->at);
    int failed = p->failed;
    free(p);
    return failed ? -1 : 0;
}
