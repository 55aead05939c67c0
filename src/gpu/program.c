/* Programs: recorded once, replayed. The recorder computes barriers from each kernel's access and splits long work.
 * layer: gpu; uses: base
 *
 * States of a program: recording (create .. finish) -> ready (finish) -> queued (submit) -> ready (its ticket has passed). */
#include "gpu/vk.h"
#include "base/memory.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A driver's watchdog ends a submission after some seconds; ggml's experience is that 200 GFLOP a submission is safe on
 * everything that people train on. Software drivers have no watchdog, but a small cap also lets Ctrl-C through. Where the driver tells
 * its cores, 10 GFLOP each: some 50 ms in scalar f32, a few on matrix engines; the large device that submits a thousand dispatches a step
 * then does so in tens of submissions, not hundreds. */
#define FLOPS_PER_SUBMISSION 200e9
#define FLOPS_PER_SUBMISSION_CORE 10e9
#define DISPATCHES_PER_SUBMISSION 2000
#define SETS_PER_POOL 256

typedef struct span { /* bytes of a block touched since the last barrier */
    VkBuffer buffer;
    uint64_t begin, end;
    bool written;
} span;

struct gpu_program {
    gpu_device *device;
    char name[64];
    char scope[96];
    bool profile, finished, dry;
    VkCommandBuffer *commands; /* one a submission */
    int64_t command_count, command_capacity;
    double flops_here;
    int dispatches_here;
    VkDescriptorPool *pools;
    int64_t pool_count, pool_capacity;
    int sets_left;
    span *spans;
    int64_t span_count, span_capacity;
    uint32_t stand_ins; /* given out since the last barrier */
    gpu_op_time *ops;   /* label and detail are one allocation, the label's */
    int64_t op_count, op_capacity;
    VkQueryPool queries; /* of a profiled program: two timestamps an op */
    uint32_t query_capacity;
    int dispatches, barriers;
};

#define PROFILE_OPS_MAX 8192

ij_status gpu_program_create(gpu_device *device, const char *name, bool profile, gpu_program **out, ij_error *err) {
    *out = NULL;
    gpu_program *program;
    IJ_TRY(ij_alloc(&program, 1, sizeof *program, "program", err));
    program->device = device;
    program->profile = profile && device->info.tick_ns > 0;
    snprintf(program->name, sizeof program->name, "%s", name);
    if (program->profile) {
        VkQueryPoolCreateInfo info = {
            .sType = VK_STRUCTURE_TYPE_QUERY_POOL_CREATE_INFO, .queryType = VK_QUERY_TYPE_TIMESTAMP, .queryCount = 2 * PROFILE_OPS_MAX};
        VkResult result = device->vk.vkCreateQueryPool(device->handle, &info, NULL, &program->queries);
        if (result != VK_SUCCESS) {
            gpu_program_destroy(program);
            return gpu_vk_fail(device, result, "timestamps", err);
        }
        program->query_capacity = info.queryCount;
    }
    *out = program;
    return IJ_OK;
}

ij_status gpu_program_create_dry(gpu_device *device, const char *name, gpu_program **out, ij_error *err) {
    IJ_TRY(gpu_program_create(device, name, false, out, err));
    (*out)->dry = true;
    return IJ_OK;
}

/* Whether commands are recorded at all. */
static bool is_dry(const gpu_program *program) { return program->dry || program->device->compile_only; }

void gpu_program_destroy(gpu_program *program) {
    if (!program) return;
    gpu_device *device = program->device;
    for (int64_t i = 0; i < program->pool_count; i++) device->vk.vkDestroyDescriptorPool(device->handle, program->pools[i], NULL);
    if (program->command_count)
        device->vk.vkFreeCommandBuffers(device->handle, device->pool, (uint32_t)program->command_count, program->commands);
    if (program->queries) device->vk.vkDestroyQueryPool(device->handle, program->queries, NULL);
    for (int64_t i = 0; i < program->op_count; i++) free((char *)program->ops[i].label);
    free(program->ops);
    free(program->spans);
    free(program->pools);
    free(program->commands);
    free(program);
}

void gpu_program_reset(gpu_program *program) {
    gpu_device *device = program->device;
    if (program->command_count)
        device->vk.vkFreeCommandBuffers(device->handle, device->pool, (uint32_t)program->command_count, program->commands);
    for (int64_t i = 0; i < program->pool_count; i++) device->vk.vkDestroyDescriptorPool(device->handle, program->pools[i], NULL);
    for (int64_t i = 0; i < program->op_count; i++) free((char *)program->ops[i].label);
    program->command_count = program->pool_count = program->op_count = program->span_count = 0;
    program->sets_left = program->dispatches = program->barriers = 0;
    program->finished = false;
}

gpu_device *gpu_program_device(const gpu_program *program) { return program->device; }

void gpu_program_scope(gpu_program *program, const char *prefix) { snprintf(program->scope, sizeof program->scope, "%s", prefix); }

/* ---- command buffers ---- */

static ij_status open_commands(gpu_program *program, ij_error *err) {
    gpu_device *device = program->device;
    IJ_TRY(ij_grow(&program->commands, &program->command_capacity, program->command_count + 1, sizeof *program->commands, "command buffers",
                   err));
    VkCommandBufferAllocateInfo info = {.sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_ALLOCATE_INFO,
                                        .commandPool = device->pool,
                                        .level = VK_COMMAND_BUFFER_LEVEL_PRIMARY,
                                        .commandBufferCount = 1};
    VkCommandBuffer commands;
    GPU_VK(device, device->vk.vkAllocateCommandBuffers(device->handle, &info, &commands), program->name, err);
    program->commands[program->command_count++] = commands;
    VkCommandBufferBeginInfo begin = {.sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_BEGIN_INFO,
                                      .flags = VK_COMMAND_BUFFER_USAGE_SIMULTANEOUS_USE_BIT};
    GPU_VK(device, device->vk.vkBeginCommandBuffer(commands, &begin), program->name, err);
    if (program->queries && program->command_count == 1)
        device->vk.vkCmdResetQueryPool(commands, program->queries, 0, program->query_capacity);
    program->flops_here = 0;
    program->dispatches_here = 0;
    return IJ_OK;
}

static VkCommandBuffer commands_of(gpu_program *program) { return program->commands[program->command_count - 1]; }

static void barrier(gpu_program *program) {
    const VkPipelineStageFlags work = VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT | VK_PIPELINE_STAGE_TRANSFER_BIT;
    const VkAccessFlags writes = VK_ACCESS_SHADER_WRITE_BIT | VK_ACCESS_TRANSFER_WRITE_BIT;
    VkMemoryBarrier all = {.sType = VK_STRUCTURE_TYPE_MEMORY_BARRIER,
                           .srcAccessMask = writes,
                           .dstAccessMask = writes | VK_ACCESS_SHADER_READ_BIT | VK_ACCESS_TRANSFER_READ_BIT};
    program->device->vk.vkCmdPipelineBarrier(commands_of(program), work, work, 0, 1, &all, 0, NULL, 0, NULL);
    program->span_count = 0;
    program->stand_ins = 0;
    program->barriers++;
}

static bool conflicts(const gpu_program *program, gpu_tensor tensor, bool written) {
    VkBuffer buffer = gpu_tensor_buffer(tensor);
    uint64_t begin = tensor.offset, end = tensor.offset + tensor.bytes;
    for (int64_t i = 0; i < program->span_count; i++) {
        const span *s = &program->spans[i];
        if (s->buffer == buffer && begin < s->end && s->begin < end && (written || s->written)) return true;
    }
    return false;
}

static ij_status remember(gpu_program *program, gpu_tensor tensor, bool written, ij_error *err) {
    IJ_TRY(ij_grow(&program->spans, &program->span_capacity, program->span_count + 1, sizeof *program->spans, "barrier spans", err));
    program->spans[program->span_count++] = (span){gpu_tensor_buffer(tensor), tensor.offset, tensor.offset + tensor.bytes, written};
    return IJ_OK;
}

/* Begins an op: the command buffer it goes into, and its first timestamp. */
static ij_status begin_op(gpu_program *program, const char *label, const char *detail, double flops, double bytes, ij_error *err) {
    assert(!program->finished);
    double most = FLOPS_PER_SUBMISSION_CORE * program->device->info.cores;
    if (most < FLOPS_PER_SUBMISSION) most = FLOPS_PER_SUBMISSION;
    bool full = program->command_count && program->dispatches_here &&
                (program->flops_here + flops > most || program->dispatches_here >= DISPATCHES_PER_SUBMISSION);
    if (full) GPU_VK(program->device, program->device->vk.vkEndCommandBuffer(commands_of(program)), program->name, err);
    if (full || program->command_count == 0) {
        IJ_TRY(open_commands(program, err));
        barrier(program); /* against what an earlier submission left in flight, the previous run of this program included */
    }
    program->flops_here += flops;
    program->dispatches_here++;
    char text[256 + 96], how[96];
    snprintf(text, 256, "%s%s%s", label ? label : "", program->scope[0] ? " " : "", program->scope);
    snprintf(how, sizeof how, "%s", detail ? detail : "");
    size_t label_bytes = strlen(text) + 1, detail_bytes = strlen(how);
    memcpy(text + label_bytes, how, detail_bytes);
    IJ_TRY(ij_grow(&program->ops, &program->op_capacity, program->op_count + 1, sizeof *program->ops, "op list", err));
    char *copy;
    IJ_TRY(ij_copy_text(&copy, text, label_bytes + detail_bytes, err));
    program->ops[program->op_count++] = (gpu_op_time){.label = copy, .detail = copy + label_bytes, .flops = flops, .bytes = bytes};
    return IJ_OK;
}

static void stamp(gpu_program *program, bool end) {
    uint32_t query = 2 * (uint32_t)(program->op_count - 1) + end;
    if (!program->queries || query >= program->query_capacity) return;
    program->device->vk.vkCmdWriteTimestamp(
        commands_of(program), end ? VK_PIPELINE_STAGE_BOTTOM_OF_PIPE_BIT : VK_PIPELINE_STAGE_TOP_OF_PIPE_BIT, program->queries, query);
}

/* ---- ops ---- */

/* What stands in a binding that a dispatch leaves out. The shader does not touch it, but synchronisation checks of older validation layers
 * take a binding that a shader could write for one that it does: so each is another part of the dummy until a barrier. */
static gpu_tensor stand_in(gpu_program *program) {
    gpu_tensor tensor = program->device->dummy;
    tensor.offset += (uint64_t)GPU_ALIGN * (program->stand_ins++ % GPU_STAND_INS);
    tensor.bytes = GPU_ALIGN;
    return tensor;
}

static ij_status descriptor_set(gpu_program *program, const gpu_kernel *kernel, const gpu_dispatch_desc *desc, VkDescriptorSet *set,
                                ij_error *err) {
    gpu_device *device = program->device;
    if (program->sets_left == 0) {
        IJ_TRY(ij_grow(&program->pools, &program->pool_capacity, program->pool_count + 1, sizeof *program->pools, "descriptor pools", err));
        VkDescriptorPoolSize size = {VK_DESCRIPTOR_TYPE_STORAGE_BUFFER, SETS_PER_POOL * GPU_BINDINGS_MAX};
        VkDescriptorPoolCreateInfo info = {
            .sType = VK_STRUCTURE_TYPE_DESCRIPTOR_POOL_CREATE_INFO, .maxSets = SETS_PER_POOL, .poolSizeCount = 1, .pPoolSizes = &size};
        VkDescriptorPool pool;
        GPU_VK(device, device->vk.vkCreateDescriptorPool(device->handle, &info, NULL, &pool), program->name, err);
        program->pools[program->pool_count++] = pool;
        program->sets_left = SETS_PER_POOL;
    }
    VkDescriptorSetAllocateInfo allocate = {.sType = VK_STRUCTURE_TYPE_DESCRIPTOR_SET_ALLOCATE_INFO,
                                            .descriptorPool = program->pools[program->pool_count - 1],
                                            .descriptorSetCount = 1,
                                            .pSetLayouts = &kernel->set_layout};
    GPU_VK(device, device->vk.vkAllocateDescriptorSets(device->handle, &allocate, set), program->name, err);
    program->sets_left--;
    VkDescriptorBufferInfo buffers[GPU_BINDINGS_MAX];
    VkWriteDescriptorSet writes[GPU_BINDINGS_MAX];
    for (uint32_t i = 0; i < kernel->binding_count; i++) {
        gpu_tensor tensor = i < desc->tensor_count && desc->tensors[i].arena ? desc->tensors[i] : stand_in(program);
        buffers[i] = (VkDescriptorBufferInfo){gpu_tensor_buffer(tensor), tensor.offset, tensor.bytes};
        writes[i] = (VkWriteDescriptorSet){.sType = VK_STRUCTURE_TYPE_WRITE_DESCRIPTOR_SET,
                                           .dstSet = *set,
                                           .dstBinding = i,
                                           .descriptorCount = 1,
                                           .descriptorType = VK_DESCRIPTOR_TYPE_STORAGE_BUFFER,
                                           .pBufferInfo = &buffers[i]};
    }
    device->vk.vkUpdateDescriptorSets(device->handle, kernel->binding_count, writes, 0, NULL);
    return IJ_OK;
}

/* Behind the push constants, aligned as a shader's block of them is. */
static void push_addresses(gpu_program *program, const gpu_dispatch_desc *desc) {
    uint64_t addresses[GPU_PUSH_BYTES_MAX / 8];
    uint32_t at = (desc->push_bytes + 7) / 8 * 8;
    assert(at + 8 * desc->address_count <= GPU_PUSH_BYTES_MAX && (program->device->info.addresses || !desc->address_count));
    for (uint32_t i = 0; i < desc->address_count; i++)
        addresses[i] = gpu_tensor_address(desc->tensors[i].arena ? desc->tensors[i] : program->device->dummy);
    if (desc->address_count)
        program->device->vk.vkCmdPushConstants(commands_of(program), desc->kernel->layout, VK_SHADER_STAGE_COMPUTE_BIT, at,
                                               8 * desc->address_count, addresses);
}

ij_status gpu_dispatch(gpu_program *program, const gpu_dispatch_desc *desc, ij_error *err) {
    gpu_device *device = program->device;
    const gpu_kernel *kernel = desc->kernel;
    assert(desc->tensor_count <= GPU_BINDINGS_MAX && desc->push_bytes <= GPU_PUSH_BYTES_MAX && desc->push_bytes % 4 == 0);
    uint32_t groups[3];
    for (int i = 0; i < 3; i++) {
        groups[i] = desc->groups[i] ? desc->groups[i] : 1;
        if (groups[i] > device->info.groups_max[i])
            return ij_fail(err, IJ_ERROR_DEVICE, "%s: %u workgroups along axis %d, %s takes %u", kernel->shader, groups[i], i,
                           device->info.name, device->info.groups_max[i]);
    }
    if (is_dry(program)) return IJ_OK;
    IJ_TRY(begin_op(program, desc->label ? desc->label : kernel->shader, desc->detail, desc->flops, desc->bytes, err));
    bool wait = program->profile; /* a profiled program runs its ops one after the other, so that each one's time is its own */
    wait |= program->stand_ins + kernel->binding_count > GPU_STAND_INS;
    uint32_t used = kernel->binding_count > desc->address_count ? kernel->binding_count : desc->address_count;
    if (used > desc->tensor_count) used = desc->tensor_count;
    for (uint32_t i = 0; i < used && !wait; i++)
        if (desc->tensors[i].arena) wait = conflicts(program, desc->tensors[i], kernel->writes >> i & 1);
    if (wait) barrier(program);
    for (uint32_t i = 0; i < used; i++)
        if (desc->tensors[i].arena) IJ_TRY(remember(program, desc->tensors[i], kernel->writes >> i & 1, err));
    VkDescriptorSet set = VK_NULL_HANDLE;
    IJ_TRY(descriptor_set(program, kernel, desc, &set, err));
    VkCommandBuffer commands = commands_of(program);
    stamp(program, false);
    device->vk.vkCmdBindPipeline(commands, VK_PIPELINE_BIND_POINT_COMPUTE, kernel->pipeline);
    device->vk.vkCmdBindDescriptorSets(commands, VK_PIPELINE_BIND_POINT_COMPUTE, kernel->layout, 0, 1, &set, 0, NULL);
    if (desc->push_bytes)
        device->vk.vkCmdPushConstants(commands, kernel->layout, VK_SHADER_STAGE_COMPUTE_BIT, 0, desc->push_bytes, desc->push);
    push_addresses(program, desc);
    device->vk.vkCmdDispatch(commands, groups[0], groups[1], groups[2]);
    stamp(program, true);
    program->dispatches++;
    return IJ_OK;
}

ij_status gpu_copy(gpu_program *program, gpu_tensor to, gpu_tensor from, uint64_t bytes, ij_error *err) {
    assert(bytes <= to.bytes && bytes <= from.bytes && bytes % 4 == 0);
    if (is_dry(program)) return IJ_OK;
    IJ_TRY(begin_op(program, "copy", NULL, 0, 2 * (double)bytes, err));
    if (program->profile || conflicts(program, to, true) || conflicts(program, from, false)) barrier(program);
    IJ_TRY(remember(program, to, true, err));
    IJ_TRY(remember(program, from, false, err));
    VkBufferCopy region = {from.offset, to.offset, bytes};
    stamp(program, false);
    program->device->vk.vkCmdCopyBuffer(commands_of(program), gpu_tensor_buffer(from), gpu_tensor_buffer(to), 1, &region);
    stamp(program, true);
    return IJ_OK;
}

ij_status gpu_fill(gpu_program *program, gpu_tensor to, uint32_t word, ij_error *err) {
    if (is_dry(program)) return IJ_OK;
    IJ_TRY(begin_op(program, "fill", NULL, 0, (double)to.bytes, err));
    if (program->profile || conflicts(program, to, true)) barrier(program);
    IJ_TRY(remember(program, to, true, err));
    stamp(program, false);
    program->device->vk.vkCmdFillBuffer(commands_of(program), gpu_tensor_buffer(to), to.offset, to.bytes, word);
    stamp(program, true);
    return IJ_OK;
}

ij_status gpu_program_finish(gpu_program *program, ij_error *err) {
    assert(!program->finished && !program->dry);
    gpu_device *device = program->device;
    if (program->command_count == 0) IJ_TRY(open_commands(program, err));
    VkMemoryBarrier host = {.sType = VK_STRUCTURE_TYPE_MEMORY_BARRIER,
                            .srcAccessMask = VK_ACCESS_SHADER_WRITE_BIT | VK_ACCESS_TRANSFER_WRITE_BIT,
                            .dstAccessMask = VK_ACCESS_HOST_READ_BIT};
    device->vk.vkCmdPipelineBarrier(commands_of(program), VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT | VK_PIPELINE_STAGE_TRANSFER_BIT,
                                    VK_PIPELINE_STAGE_HOST_BIT, 0, 1, &host, 0, NULL, 0, NULL);
    GPU_VK(device, device->vk.vkEndCommandBuffer(commands_of(program)), program->name, err);
    program->finished = true;
    return IJ_OK;
}

/* ---- running ---- */

ij_status gpu_submit(gpu_program *program, uint64_t *ticket, ij_error *err) {
    assert(program->finished && !program->device->compile_only);
    gpu_device *device = program->device;
    for (int64_t i = 0; i < program->command_count; i++) {
        uint64_t value = ++device->submitted;
        VkTimelineSemaphoreSubmitInfo timeline = {
            .sType = VK_STRUCTURE_TYPE_TIMELINE_SEMAPHORE_SUBMIT_INFO, .signalSemaphoreValueCount = 1, .pSignalSemaphoreValues = &value};
        VkSubmitInfo submit = {.sType = VK_STRUCTURE_TYPE_SUBMIT_INFO,
                               .pNext = &timeline,
                               .commandBufferCount = 1,
                               .pCommandBuffers = &program->commands[i],
                               .signalSemaphoreCount = 1,
                               .pSignalSemaphores = &device->timeline};
        GPU_VK(device, device->vk.vkQueueSubmit(device->queue, 1, &submit, VK_NULL_HANDLE), program->name, err);
    }
    if (ticket) *ticket = device->submitted;
    return IJ_OK;
}

ij_status gpu_wait(gpu_device *device, uint64_t ticket, ij_error *err) {
    VkSemaphoreWaitInfo info = {
        .sType = VK_STRUCTURE_TYPE_SEMAPHORE_WAIT_INFO, .semaphoreCount = 1, .pSemaphores = &device->timeline, .pValues = &ticket};
    VkResult result = device->vk.vkWaitSemaphores(device->handle, &info, UINT64_MAX);
    return result == VK_SUCCESS ? IJ_OK : gpu_vk_fail(device, result, "waiting for the device", err);
}

ij_status gpu_wait_all(gpu_device *device, ij_error *err) { return gpu_wait(device, device->submitted, err); }

ij_status gpu_run(gpu_program *program, ij_error *err) {
    uint64_t ticket = 0;
    IJ_TRY(gpu_submit(program, &ticket, err));
    return gpu_wait(program->device, ticket, err);
}

ij_status gpu_program_times(gpu_program *program, const gpu_op_time **rows, int *count, ij_error *err) {
    gpu_device *device = program->device;
    if (!program->queries) return ij_fail(err, IJ_ERROR_DEVICE, "%s has no timestamps for program %s", device->info.name, program->name);
    int64_t stamped = program->op_count < PROFILE_OPS_MAX ? program->op_count : PROFILE_OPS_MAX;
    uint64_t *ticks;
    IJ_TRY(ij_alloc(&ticks, 2 * stamped, sizeof *ticks, "timestamps", err));
    VkResult result = device->vk.vkGetQueryPoolResults(device->handle, program->queries, 0, (uint32_t)(2 * stamped), 16 * (size_t)stamped,
                                                       ticks, 8, VK_QUERY_RESULT_64_BIT | VK_QUERY_RESULT_WAIT_BIT);
    for (int64_t i = 0; i < stamped && result == VK_SUCCESS; i++) {
        program->ops[i].begin = 1e-9 * device->info.tick_ns * (double)ticks[2 * i];
        program->ops[i].seconds = 1e-9 * device->info.tick_ns * (double)(ticks[2 * i + 1] - ticks[2 * i]);
    }
    free(ticks);
    *rows = program->ops;
    *count = (int)stamped;
    return result == VK_SUCCESS ? IJ_OK : gpu_vk_fail(device, result, "reading timestamps", err);
}

int gpu_program_dispatches(const gpu_program *program) { return program->dispatches; }
int gpu_program_barriers(const gpu_program *program) { return program->barriers; }
