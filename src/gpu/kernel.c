/* Pipelines: from an embedded shader and specialisation values, each compiled once, with a cache on disk.
 * layer: gpu; uses: base */
#include "gpu/vk.h"
#include "base/file.h"
#include "base/memory.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const gpu_shader *find_shader(const char *name) {
    for (int i = 0; i < gpu_shader_count; i++)
        if (strcmp(gpu_shaders[i].name, name) == 0) return &gpu_shaders[i];
    return NULL;
}

bool gpu_shader_exists(const char *name) { return find_shader(name) != NULL; }

uint64_t gpu_shaders_hash(const char *prefix) {
    uint64_t hash = 0xcbf29ce484222325u;
    for (int i = 0; i < gpu_shader_count; i++)
        for (uint32_t w = 0; w < gpu_shaders[i].word_count && strncmp(gpu_shaders[i].name, prefix, strlen(prefix)) == 0; w++)
            hash = (hash ^ gpu_shaders[i].words[w]) * 0x100000001b3u;
    return hash;
}

static ij_status make_layout(gpu_device *device, gpu_kernel *kernel, ij_error *err) {
    VkDescriptorSetLayoutBinding bindings[GPU_BINDINGS_MAX];
    for (uint32_t i = 0; i < kernel->binding_count; i++)
        bindings[i] = (VkDescriptorSetLayoutBinding){i, VK_DESCRIPTOR_TYPE_STORAGE_BUFFER, 1, VK_SHADER_STAGE_COMPUTE_BIT, NULL};
    VkDescriptorSetLayoutCreateInfo set = {
        .sType = VK_STRUCTURE_TYPE_DESCRIPTOR_SET_LAYOUT_CREATE_INFO, .bindingCount = kernel->binding_count, .pBindings = bindings};
    GPU_VK(device, device->vk.vkCreateDescriptorSetLayout(device->handle, &set, NULL, &kernel->set_layout), kernel->shader, err);
    VkPushConstantRange push = {VK_SHADER_STAGE_COMPUTE_BIT, 0, GPU_PUSH_BYTES_MAX};
    VkPipelineLayoutCreateInfo layout = {.sType = VK_STRUCTURE_TYPE_PIPELINE_LAYOUT_CREATE_INFO,
                                         .setLayoutCount = 1,
                                         .pSetLayouts = &kernel->set_layout,
                                         .pushConstantRangeCount = 1,
                                         .pPushConstantRanges = &push};
    GPU_VK(device, device->vk.vkCreatePipelineLayout(device->handle, &layout, NULL, &kernel->layout), kernel->shader, err);
    return IJ_OK;
}

static ij_status make_pipeline(gpu_device *device, const gpu_shader *shader, gpu_kernel *kernel, ij_error *err) {
    VkSpecializationMapEntry entries[GPU_SPECS_MAX];
    for (uint32_t i = 0; i < kernel->desc.spec_count; i++) entries[i] = (VkSpecializationMapEntry){i, 4 * i, 4};
    VkSpecializationInfo specs = {kernel->desc.spec_count, entries, 4 * kernel->desc.spec_count, kernel->desc.specs};
    VkShaderModuleCreateInfo code = {
        .sType = VK_STRUCTURE_TYPE_SHADER_MODULE_CREATE_INFO, .codeSize = 4 * (size_t)shader->word_count, .pCode = shader->words};
    VkShaderModule module;
    GPU_VK(device, device->vk.vkCreateShaderModule(device->handle, &code, NULL, &module), kernel->shader, err);
    VkPipelineShaderStageRequiredSubgroupSizeCreateInfoEXT size = {
        .sType = VK_STRUCTURE_TYPE_PIPELINE_SHADER_STAGE_REQUIRED_SUBGROUP_SIZE_CREATE_INFO_EXT,
        .requiredSubgroupSize = kernel->desc.subgroup_size};
    bool sized = kernel->desc.subgroup_size && device->subgroup_control && kernel->desc.subgroup_size >= device->info.subgroup_min &&
                 kernel->desc.subgroup_size <= device->info.subgroup_max;
    VkComputePipelineCreateInfo info = {.sType = VK_STRUCTURE_TYPE_COMPUTE_PIPELINE_CREATE_INFO,
                                        .flags = device->compile_only ? VK_PIPELINE_CREATE_CAPTURE_STATISTICS_BIT_KHR : 0,
                                        .stage = {.sType = VK_STRUCTURE_TYPE_PIPELINE_SHADER_STAGE_CREATE_INFO,
                                                  .pNext = sized ? &size : NULL,
                                                  .flags = kernel->desc.full_subgroups && device->full_subgroups
                                                               ? VK_PIPELINE_SHADER_STAGE_CREATE_REQUIRE_FULL_SUBGROUPS_BIT_EXT
                                                               : 0,
                                                  .stage = VK_SHADER_STAGE_COMPUTE_BIT,
                                                  .module = module,
                                                  .pName = "main",
                                                  .pSpecializationInfo = &specs},
                                        .layout = kernel->layout};
    VkResult result = device->vk.vkCreateComputePipelines(device->handle, device->cache, 1, &info, NULL, &kernel->pipeline);
    device->vk.vkDestroyShaderModule(device->handle, module, NULL);
    device->cache_dirty = true;
    return result == VK_SUCCESS ? IJ_OK : gpu_vk_fail(device, result, kernel->shader, err);
}

static void destroy_kernel(gpu_device *device, gpu_kernel *kernel) {
    if (kernel->pipeline) device->vk.vkDestroyPipeline(device->handle, kernel->pipeline, NULL);
    if (kernel->layout) device->vk.vkDestroyPipelineLayout(device->handle, kernel->layout, NULL);
    if (kernel->set_layout) device->vk.vkDestroyDescriptorSetLayout(device->handle, kernel->set_layout, NULL);
    free(kernel);
}

ij_status gpu_kernel_get(gpu_device *device, const gpu_kernel_desc *desc, gpu_kernel **out, ij_error *err) {
    assert(desc->spec_count <= GPU_SPECS_MAX);
    for (gpu_kernel *kernel = device->kernels; kernel; kernel = kernel->next)
        if (strcmp(kernel->shader, desc->shader) == 0 && kernel->desc.spec_count == desc->spec_count &&
            kernel->desc.subgroup_size == desc->subgroup_size && kernel->desc.full_subgroups == desc->full_subgroups &&
            memcmp(kernel->desc.specs, desc->specs, 4 * desc->spec_count) == 0) {
            *out = kernel;
            return IJ_OK;
        }
    const gpu_shader *shader = find_shader(desc->shader);
    if (!shader) return ij_fail(err, IJ_ERROR_DEVICE, "shader %s was left out of this build (see the configure summary)", desc->shader);
    gpu_kernel *kernel;
    IJ_TRY(ij_alloc(&kernel, 1, sizeof *kernel, "kernel", err));
    snprintf(kernel->shader, sizeof kernel->shader, "%s", desc->shader);
    kernel->desc = *desc;
    kernel->desc.shader = kernel->shader;
    ij_status status = gpu_spirv_bindings(shader, &kernel->binding_count, &kernel->reads, &kernel->writes, err);
    if (status == IJ_OK) status = make_layout(device, kernel, err);
    if (status == IJ_OK) status = make_pipeline(device, shader, kernel, err);
    if (status != IJ_OK) {
        destroy_kernel(device, kernel);
        return status;
    }
    kernel->next = device->kernels;
    device->kernels = kernel;
    *out = kernel;
    return IJ_OK;
}

static ij_status kernel_statistics(gpu_device *device, const gpu_kernel *kernel, gpu_on_statistic on_value, void *user, ij_error *err) {
    VkPipelineExecutableInfoKHR info = {.sType = VK_STRUCTURE_TYPE_PIPELINE_EXECUTABLE_INFO_KHR, .pipeline = kernel->pipeline};
    VkPipelineExecutableStatisticKHR values[48];
    uint32_t count = IJ_COUNT(values);
    memset(values, 0, sizeof values);
    for (uint32_t i = 0; i < count; i++) values[i].sType = VK_STRUCTURE_TYPE_PIPELINE_EXECUTABLE_STATISTIC_KHR;
    VkResult result = device->vk.vkGetPipelineExecutableStatisticsKHR(device->handle, &info, &count, values);
    if (result < 0) return gpu_vk_fail(device, result, kernel->shader, err);
    for (uint32_t i = 0; i < count; i++) {
        const VkPipelineExecutableStatisticValueKHR *v = &values[i].value;
        bool real = values[i].format == VK_PIPELINE_EXECUTABLE_STATISTIC_FORMAT_FLOAT64_KHR;
        on_value(user, &kernel->desc, values[i].name, real ? v->f64 : (double)v->u64);
    }
    return IJ_OK;
}

ij_status gpu_statistics(gpu_device *device, gpu_on_statistic on_value, void *user, ij_error *err) {
    assert(device->compile_only);
    for (const gpu_kernel *kernel = device->kernels; kernel; kernel = kernel->next)
        IJ_TRY(kernel_statistics(device, kernel, on_value, user, err));
    return IJ_OK;
}

void gpu_kernels_destroy(gpu_device *device) {
    while (device->kernels) {
        gpu_kernel *next = device->kernels->next;
        destroy_kernel(device, device->kernels);
        device->kernels = next;
    }
}

/* The cache file holds what the driver gave; a driver that does not recognise it ignores it. Unreadable: started afresh. */
ij_status gpu_cache_load(gpu_device *device, const char *folder, ij_error *err) {
    void *data = NULL;
    size_t bytes = 0;
    snprintf(device->cache_folder, sizeof device->cache_folder, "%s", folder ? folder : "");
    if (folder && *folder) {
        int written = snprintf(device->cache_path, sizeof device->cache_path, "%s/pipelines-%s.bin", folder, device->info.identity);
        if (written < 0 || (size_t)written >= sizeof device->cache_path || ij_make_folders(folder, NULL) != IJ_OK)
            device->cache_path[0] = 0;
    }
    if (device->cache_path[0] && ij_file_exists(device->cache_path)) (void)ij_file_read(device->cache_path, 64u << 20, &data, &bytes, NULL);
    VkPipelineCacheCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_PIPELINE_CACHE_CREATE_INFO, .initialDataSize = bytes, .pInitialData = data};
    VkResult result = device->vk.vkCreatePipelineCache(device->handle, &info, NULL, &device->cache);
    free(data);
    return result == VK_SUCCESS ? IJ_OK : gpu_vk_fail(device, result, "pipeline cache", err);
}

void gpu_cache_save(gpu_device *device) {
    size_t bytes = 0;
    if (!device->cache_path[0] || !device->cache_dirty) return;
    if (device->vk.vkGetPipelineCacheData(device->handle, device->cache, &bytes, NULL) != VK_SUCCESS || bytes == 0) return;
    void *data = malloc(bytes);
    /* A cache that cannot be written costs the next start a few milliseconds, nothing else. */
    if (data && device->vk.vkGetPipelineCacheData(device->handle, device->cache, &bytes, data) == VK_SUCCESS)
        (void)ij_file_replace(device->cache_path, data, bytes, NULL);
    free(data);
}
