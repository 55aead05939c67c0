/* Reads from a shader's own words which bindings it has and what it does with them, so that neither the layout nor the access
 * is declared a second time in C.          layer: gpu; uses: base */
#include "gpu/vk.h"
#include "base/memory.h"

#include <stdlib.h>
#include <string.h>

enum { /* SPIR-V specification, sections 3.20 and 3.49 */
       OP_TYPE_POINTER = 32,
       OP_VARIABLE = 59,
       OP_DECORATE = 71,
       OP_MEMBER_DECORATE = 72,
       DECORATION_BINDING = 33,
       DECORATION_NON_WRITABLE = 24,
       DECORATION_NON_READABLE = 25,
       STORAGE_STORAGE_BUFFER = 12,
};

typedef struct id_facts {
    int32_t binding;     /* -1: none */
    uint32_t pointee;    /* of a pointer type */
    uint32_t denied;     /* bit 0: not writable, bit 1: not readable; of a variable */
    uint32_t member_any; /* the same, seen on at least one member of a struct type */
} id_facts;

static uint32_t denied_bit(uint32_t decoration) {
    return decoration == DECORATION_NON_WRITABLE ? 1u : decoration == DECORATION_NON_READABLE ? 2u : 0u;
}

ij_status gpu_spirv_bindings(const gpu_shader *shader, uint32_t *count, uint32_t *reads, uint32_t *writes, ij_error *err) {
    const uint32_t *words = shader->words;
    *count = *reads = *writes = 0;
    if (shader->word_count < 5 || words[0] != 0x07230203u) return ij_fail(err, IJ_ERROR_FORMAT, "shader %s: not SPIR-V", shader->name);
    uint32_t bound = words[3];
    id_facts *ids;
    IJ_TRY(ij_alloc(&ids, bound, sizeof *ids, "shader ids", err));
    for (uint32_t i = 0; i < bound; i++) ids[i].binding = -1;
    ij_status status = IJ_OK;
    for (uint32_t at = 5; at < shader->word_count;) {
        uint32_t op = words[at] & 0xffff, length = words[at] >> 16;
        if (length == 0 || at + length > shader->word_count) {
            status = ij_fail(err, IJ_ERROR_FORMAT, "shader %s: broken instruction at word %u", shader->name, at);
            break;
        }
        const uint32_t *arg = words + at + 1;
        if (op == OP_DECORATE && length >= 3 && arg[0] < bound) {
            if (arg[1] == DECORATION_BINDING) ids[arg[0]].binding = (int32_t)arg[2];
            ids[arg[0]].denied |= denied_bit(arg[1]);
        } else if (op == OP_MEMBER_DECORATE && length >= 4 && arg[0] < bound) {
            ids[arg[0]].member_any |= denied_bit(arg[2]);
        } else if (op == OP_TYPE_POINTER && length == 4 && arg[0] < bound) {
            ids[arg[0]].pointee = arg[2];
        } else if (op == OP_VARIABLE && length >= 4 && arg[1] < bound && arg[0] < bound && arg[2] == STORAGE_STORAGE_BUFFER) {
            /* Decorations come before types and variables, so everything about this one is known here. A buffer block of this
             * project has one member, so a member's decoration speaks for the block. */
            int32_t binding = ids[arg[1]].binding;
            if (binding < 0) {
            } else if (binding >= GPU_BINDINGS_MAX) {
                status = ij_fail(err, IJ_ERROR_FORMAT, "shader %s: binding %d, at most %d are supported", shader->name, binding,
                                 GPU_BINDINGS_MAX - 1);
                break;
            } else {
                uint32_t denied = ids[arg[1]].denied;
                if (ids[arg[0]].pointee < bound) denied |= ids[ids[arg[0]].pointee].member_any;
                if (*count < (uint32_t)binding + 1) *count = (uint32_t)binding + 1;
                if (!(denied & 2)) *reads |= 1u << binding;
                if (!(denied & 1)) *writes |= 1u << binding;
            }
        }
        at += length;
    }
    free(ids);
    return status;
}
