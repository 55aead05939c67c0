/* Arenas: reserved first, allocated at once.        layer: gpu; uses: base */
#include "gpu/vk.h"
#include "base/memory.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

ij_status gpu_arena_create(gpu_device *device, const char *name, gpu_memory memory, gpu_arena **out, ij_error *err) {
    IJ_TRY(ij_alloc(out, 1, sizeof **out, "arena", err));
    (*out)->device = device;
    (*out)->kind = memory;
    snprintf((*out)->name, sizeof(*out)->name, "%s", name);
    return IJ_OK;
}

void gpu_arena_destroy(gpu_arena *arena) {
    if (!arena) return;
    gpu_device *device = arena->device;
    for (int64_t i = 0; i < arena->block_count; i++) {
        if (arena->blocks[i].buffer) device->vk.vkDestroyBuffer(device->handle, arena->blocks[i].buffer, NULL);
        if (arena->blocks[i].memory) device->vk.vkFreeMemory(device->handle, arena->blocks[i].memory, NULL);
    }
    free(arena->blocks);
    free(arena);
}

static uint64_t block_limit(const gpu_device *device) {
    uint64_t limit = GPU_BLOCK_BYTES;
    if (device->info.allocation_max && device->info.allocation_max < limit) limit = device->info.allocation_max;
    return limit;
}

ij_status gpu_reserve(gpu_arena *arena, uint64_t bytes, const char *what, gpu_tensor *out, ij_error *err) {
    assert(!arena->committed);
    const gpu_info *info = &arena->device->info;
    bytes = (bytes + 15) / 16 * 16;
    if (bytes == 0) bytes = 16;
    if (bytes > info->range_max || (info->allocation_max && bytes > info->allocation_max)) {
        uint64_t limit = info->allocation_max && info->allocation_max < info->range_max ? info->allocation_max : info->range_max;
        ij_fail(err, IJ_ERROR_MEMORY, "%s: tensor %s needs %.1f MiB in one piece, the device %s takes %.1f MiB at most", arena->name, what,
                (double)bytes / 1048576.0, info->name, (double)limit / 1048576.0);
        return ij_hint(err, "a smaller batch makes smaller tensors; gradient accumulation keeps the effective batch");
    }
    uint64_t limit = block_limit(arena->device);
    if (limit < bytes) limit = bytes; /* one tensor larger than a usual block gets a block of its own */
    if (arena->offset && arena->offset + bytes > limit) arena->block++, arena->offset = 0;
    if (arena->block >= arena->block_count) {
        IJ_TRY(ij_grow(&arena->blocks, &arena->block_capacity, arena->block + 1, sizeof *arena->blocks, "arena blocks", err));
        arena->block_count = arena->block + 1;
    }
    *out = (gpu_tensor){arena, arena->block, arena->offset, bytes, GPU_WORD};
    arena->offset = (arena->offset + bytes + GPU_ALIGN - 1) / GPU_ALIGN * GPU_ALIGN;
    if (arena->blocks[arena->block].bytes < arena->offset) arena->blocks[arena->block].bytes = arena->offset;
    return IJ_OK;
}

ij_status gpu_reserve_matrix(gpu_arena *arena, gpu_element element, uint64_t rows, uint64_t columns, const char *what, gpu_tensor *out,
                             ij_error *err) {
    IJ_TRY(gpu_reserve(arena, gpu_matrix_bytes(element, rows, columns), what, out, err));
    out->element = element;
    return IJ_OK;
}

gpu_device *gpu_arena_device(const gpu_arena *arena) { return arena->device; }

gpu_mark gpu_arena_mark(const gpu_arena *arena) { return (gpu_mark){arena->block, arena->offset}; }

void gpu_arena_rewind(gpu_arena *arena, gpu_mark mark) {
    arena->block = mark.block;
    arena->offset = mark.offset;
}

uint64_t gpu_arena_bytes(const gpu_arena *arena) {
    uint64_t bytes = 0;
    for (int64_t i = 0; i < arena->block_count; i++) bytes += arena->blocks[i].bytes;
    return bytes;
}

/* Memory type for an arena, best first; -1: none. */
static int memory_type(const gpu_device *device, uint32_t allowed, gpu_memory kind) {
    const VkMemoryPropertyFlags host = VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT | VK_MEMORY_PROPERTY_HOST_COHERENT_BIT;
    VkMemoryPropertyFlags wishes[3][3] = {
        [GPU_MEMORY_DEVICE] = {VK_MEMORY_PROPERTY_DEVICE_LOCAL_BIT, 0, 0},
        [GPU_MEMORY_UPLOAD] = {host, host, host},
        [GPU_MEMORY_READBACK] = {host | VK_MEMORY_PROPERTY_HOST_CACHED_BIT, host, host},
    };
    for (int w = 0; w < 3; w++)
        for (uint32_t i = 0; i < device->memory.memoryTypeCount; i++) {
            VkMemoryPropertyFlags has = device->memory.memoryTypes[i].propertyFlags;
            if ((allowed >> i & 1) && (has & wishes[kind][w]) == wishes[kind][w]) return (int)i;
        }
    return -1;
}

static ij_status commit_block(gpu_arena *arena, gpu_block *block, ij_error *err) {
    gpu_device *device = arena->device;
    VkBufferCreateInfo info = {.sType = VK_STRUCTURE_TYPE_BUFFER_CREATE_INFO,
                               .size = block->bytes + (device->info.addresses ? GPU_PADDING : 0),
                               .usage = VK_BUFFER_USAGE_STORAGE_BUFFER_BIT | VK_BUFFER_USAGE_TRANSFER_SRC_BIT |
                                        VK_BUFFER_USAGE_TRANSFER_DST_BIT |
                                        (device->info.addresses ? VK_BUFFER_USAGE_SHADER_DEVICE_ADDRESS_BIT : 0u)};
    GPU_VK(device, device->vk.vkCreateBuffer(device->handle, &info, NULL, &block->buffer), arena->name, err);
    VkMemoryRequirements needs;
    device->vk.vkGetBufferMemoryRequirements(device->handle, block->buffer, &needs);
    int type = memory_type(device, needs.memoryTypeBits, arena->kind);
    if (type < 0) return ij_fail(err, IJ_ERROR_DEVICE, "%s has no memory for %s", device->info.name, arena->name);
    VkMemoryAllocateFlagsInfo flags = {.sType = VK_STRUCTURE_TYPE_MEMORY_ALLOCATE_FLAGS_INFO,
                                       .flags = VK_MEMORY_ALLOCATE_DEVICE_ADDRESS_BIT};
    VkMemoryAllocateInfo allocate = {.sType = VK_STRUCTURE_TYPE_MEMORY_ALLOCATE_INFO,
                                     .pNext = device->info.addresses ? &flags : NULL,
                                     .allocationSize = needs.size,
                                     .memoryTypeIndex = (uint32_t)type};
    VkResult result = device->vk.vkAllocateMemory(device->handle, &allocate, NULL, &block->memory);
    if (result != VK_SUCCESS) {
        ij_fail(err, IJ_ERROR_MEMORY,
                "out of device memory: %s needs %.1f MiB in all; %s has %.1f MiB, of which %.1f MiB were free at the start", arena->name,
                (double)gpu_arena_bytes(arena) / 1048576.0, device->info.name, (double)device->info.heap_bytes / 1048576.0,
                (double)device->info.budget_bytes / 1048576.0);
        return ij_hint(err, "a smaller batch with accumulation gives the same training");
    }
    GPU_VK(device, device->vk.vkBindBufferMemory(device->handle, block->buffer, block->memory, 0), arena->name, err);
    VkBufferDeviceAddressInfo address = {.sType = VK_STRUCTURE_TYPE_BUFFER_DEVICE_ADDRESS_INFO, .buffer = block->buffer};
    if (device->info.addresses) block->address = device->vk.vkGetBufferDeviceAddress(device->handle, &address);
    if (arena->kind != GPU_MEMORY_DEVICE)
        GPU_VK(device, device->vk.vkMapMemory(device->handle, block->memory, 0, VK_WHOLE_SIZE, 0, &block->mapped), arena->name, err);
    return IJ_OK;
}

ij_status gpu_arena_commit(gpu_arena *arena, ij_error *err) {
    assert(!arena->committed);
    arena->committed = true;
    if (arena->device->compile_only) return IJ_OK;
    for (int64_t i = 0; i < arena->block_count; i++) IJ_TRY(commit_block(arena, &arena->blocks[i], err));
    return IJ_OK;
}

/* Programs that were recorded with a smaller one go on using that, so it stays. */
ij_status gpu_scratch(gpu_device *device, uint64_t bytes, gpu_tensor *out, ij_error *err) {
    if (device->scratch.bytes < bytes) {
        assert(device->scratch_count < IJ_COUNT(device->scratch_arenas));
        uint64_t larger = 2 * device->scratch.bytes > bytes ? 2 * device->scratch.bytes : bytes;
        gpu_arena **arena = &device->scratch_arenas[device->scratch_count];
        gpu_tensor tensor;
        IJ_TRY(gpu_arena_create(device, "scratch of the device", GPU_MEMORY_DEVICE, arena, err));
        device->scratch_count++;
        IJ_TRY(gpu_reserve(*arena, larger, "scratch of the device", &tensor, err));
        IJ_TRY(gpu_arena_commit(*arena, err));
        device->scratch = tensor;
    }
    *out = device->scratch;
    out->bytes = (bytes + 15) / 16 * 16;
    return IJ_OK;
}

gpu_tensor gpu_part(gpu_tensor tensor, uint64_t offset, uint64_t bytes) {
    assert(offset % 256 == 0 && offset + bytes <= tensor.bytes);
    return (gpu_tensor){tensor.arena, tensor.block, tensor.offset + offset, bytes, tensor.element};
}

gpu_tensor gpu_span(gpu_tensor first, gpu_tensor last) {
    assert(first.arena == last.arena && first.block == last.block && first.offset <= last.offset);
    uint64_t end = (last.offset + last.bytes + GPU_ALIGN - 1) / GPU_ALIGN * GPU_ALIGN;
    return (gpu_tensor){first.arena, first.block, first.offset, end - first.offset, first.element};
}

void *gpu_map(gpu_tensor tensor) {
    assert(tensor.arena->committed && tensor.arena->kind != GPU_MEMORY_DEVICE);
    return (char *)tensor.arena->blocks[tensor.block].mapped + tensor.offset;
}

VkBuffer gpu_tensor_buffer(gpu_tensor tensor) {
    assert(tensor.arena->committed);
    return tensor.arena->blocks[tensor.block].buffer;
}

uint64_t gpu_tensor_address(gpu_tensor tensor) { return tensor.arena->blocks[tensor.block].address + tensor.offset; }

/* One copy between a tensor and the staging memory, waited for. */
static ij_status copy_now(gpu_device *device, gpu_tensor to, uint64_t to_offset, gpu_tensor from, uint64_t from_offset, uint64_t bytes,
                          ij_error *err) {
    VkCommandBufferAllocateInfo allocate = {.sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_ALLOCATE_INFO,
                                            .commandPool = device->pool,
                                            .level = VK_COMMAND_BUFFER_LEVEL_PRIMARY,
                                            .commandBufferCount = 1};
    VkCommandBuffer commands;
    GPU_VK(device, device->vk.vkAllocateCommandBuffers(device->handle, &allocate, &commands), "copy", err);
    VkCommandBufferBeginInfo begin = {.sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_BEGIN_INFO,
                                      .flags = VK_COMMAND_BUFFER_USAGE_ONE_TIME_SUBMIT_BIT};
    device->vk.vkBeginCommandBuffer(commands, &begin);
    VkMemoryBarrier barrier = {.sType = VK_STRUCTURE_TYPE_MEMORY_BARRIER,
                               .srcAccessMask = VK_ACCESS_SHADER_WRITE_BIT | VK_ACCESS_TRANSFER_WRITE_BIT,
                               .dstAccessMask = VK_ACCESS_TRANSFER_READ_BIT | VK_ACCESS_TRANSFER_WRITE_BIT};
    const VkPipelineStageFlags work = VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT | VK_PIPELINE_STAGE_TRANSFER_BIT;
    device->vk.vkCmdPipelineBarrier(commands, work, VK_PIPELINE_STAGE_TRANSFER_BIT, 0, 1, &barrier, 0, NULL, 0, NULL);
    VkBufferCopy region = {from.offset + from_offset, to.offset + to_offset, bytes};
    device->vk.vkCmdCopyBuffer(commands, gpu_tensor_buffer(from), gpu_tensor_buffer(to), 1, &region);
    VkMemoryBarrier after = {.sType = VK_STRUCTURE_TYPE_MEMORY_BARRIER,
                             .srcAccessMask = VK_ACCESS_TRANSFER_WRITE_BIT,
                             .dstAccessMask = VK_ACCESS_HOST_READ_BIT | VK_ACCESS_SHADER_READ_BIT | VK_ACCESS_SHADER_WRITE_BIT};
    device->vk.vkCmdPipelineBarrier(commands, VK_PIPELINE_STAGE_TRANSFER_BIT,
                                    VK_PIPELINE_STAGE_HOST_BIT | VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT, 0, 1, &after, 0, NULL, 0, NULL);
    device->vk.vkEndCommandBuffer(commands);
    uint64_t value = ++device->submitted;
    VkTimelineSemaphoreSubmitInfo timeline = {
        .sType = VK_STRUCTURE_TYPE_TIMELINE_SEMAPHORE_SUBMIT_INFO, .signalSemaphoreValueCount = 1, .pSignalSemaphoreValues = &value};
    VkSubmitInfo submit = {.sType = VK_STRUCTURE_TYPE_SUBMIT_INFO,
                           .pNext = &timeline,
                           .commandBufferCount = 1,
                           .pCommandBuffers = &commands,
                           .signalSemaphoreCount = 1,
                           .pSignalSemaphores = &device->timeline};
    VkResult result = device->vk.vkQueueSubmit(device->queue, 1, &submit, VK_NULL_HANDLE);
    ij_status status = result == VK_SUCCESS ? gpu_wait(device, value, err) : gpu_vk_fail(device, result, "copy", err);
    device->vk.vkFreeCommandBuffers(device->handle, device->pool, 1, &commands);
    return status;
}

ij_status gpu_write(gpu_device *device, gpu_tensor to, uint64_t offset, const void *data, uint64_t bytes, ij_error *err) {
    assert(offset + bytes <= to.bytes);
    for (uint64_t done = 0; done < bytes;) {
        uint64_t piece = bytes - done < GPU_STAGING_BYTES ? bytes - done : GPU_STAGING_BYTES;
        memcpy(gpu_map(device->staging), (const char *)data + done, piece);
        IJ_TRY(copy_now(device, to, offset + done, device->staging, 0, piece, err));
        done += piece;
    }
    return IJ_OK;
}

ij_status gpu_read(gpu_device *device, gpu_tensor from, uint64_t offset, void *data, uint64_t bytes, ij_error *err) {
    assert(offset + bytes <= from.bytes);
    for (uint64_t done = 0; done < bytes;) {
        uint64_t piece = bytes - done < GPU_STAGING_BYTES ? bytes - done : GPU_STAGING_BYTES;
        IJ_TRY(copy_now(device, device->staging, 0, from, offset + done, piece, err));
        memcpy((char *)data + done, gpu_map(device->staging), piece);
        done += piece;
    }
    return IJ_OK;
}
