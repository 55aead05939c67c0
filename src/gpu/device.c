/* Instance, choice of a device, its limits.        layer: gpu; uses: base */
#include "gpu/vk.h"
#include "base/memory.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *result_name(VkResult result) {
    switch (result) {
    case VK_ERROR_OUT_OF_HOST_MEMORY: return "out of host memory";
    case VK_ERROR_OUT_OF_DEVICE_MEMORY: return "out of device memory";
    case VK_ERROR_DEVICE_LOST: return "device lost (a driver reset, a watchdog, or an unplugged device)";
    case VK_ERROR_INITIALIZATION_FAILED: return "initialisation failed";
    case VK_ERROR_LAYER_NOT_PRESENT: return "validation layers are not installed";
    case VK_ERROR_EXTENSION_NOT_PRESENT: return "extension not present";
    case VK_ERROR_FEATURE_NOT_PRESENT: return "feature not present";
    case VK_ERROR_INCOMPATIBLE_DRIVER: return "no usable driver";
    case VK_ERROR_FRAGMENTED_POOL: return "descriptor pool fragmented";
    case VK_ERROR_OUT_OF_POOL_MEMORY: return "descriptor pool exhausted";
    case VK_TIMEOUT: return "timed out";
    default: return NULL;
    }
}

ij_status gpu_vk_fail(gpu_device *device, VkResult result, const char *doing, ij_error *err) {
    const char *name = result_name(result);
    char number[32];
    snprintf(number, sizeof number, "Vulkan error %d", (int)result);
    bool memory = result == VK_ERROR_OUT_OF_DEVICE_MEMORY || result == VK_ERROR_OUT_OF_HOST_MEMORY;
    ij_fail(err, memory ? IJ_ERROR_MEMORY : IJ_ERROR_DEVICE, "%s%s%s: %s", device ? device->info.name : "Vulkan", *doing ? ": " : "", doing,
            name ? name : number);
    if (result == VK_ERROR_DEVICE_LOST) ij_hint(err, "a smaller batch makes shorter submissions; the last checkpoint is intact");
    return memory ? IJ_ERROR_MEMORY : IJ_ERROR_DEVICE;
}

static VKAPI_ATTR VkBool32 VKAPI_CALL on_message(VkDebugUtilsMessageSeverityFlagBitsEXT severity, VkDebugUtilsMessageTypeFlagsEXT types,
                                                 const VkDebugUtilsMessengerCallbackDataEXT *data, void *user) {
    (void)types;
    gpu_device *device = user;
    if (!(severity & (VK_DEBUG_UTILS_MESSAGE_SEVERITY_ERROR_BIT_EXT | VK_DEBUG_UTILS_MESSAGE_SEVERITY_WARNING_BIT_EXT))) return VK_FALSE;
    /* The loader warns of drivers it skips; that says nothing about this program. */
    if (data->pMessageIdName && strstr(data->pMessageIdName, "Loader")) return VK_FALSE;
    if (device->messages++ == 0) snprintf(device->first_message, sizeof device->first_message, "%s", data->pMessage);
    if (device->on_message) device->on_message(device->message_user, data->pMessage);
    return VK_FALSE;
}

static bool has_layer(const gpu_vk *vk, const char *name) {
    uint32_t count = 0;
    if (vk->vkEnumerateInstanceLayerProperties(&count, NULL) != VK_SUCCESS || count == 0) return false;
    VkLayerProperties *layers = calloc(count, sizeof *layers);
    bool found = false;
    if (layers && vk->vkEnumerateInstanceLayerProperties(&count, layers) >= 0)
        for (uint32_t i = 0; i < count; i++) found |= strcmp(layers[i].layerName, name) == 0;
    free(layers);
    return found;
}

static ij_status make_instance(gpu_device *device, bool validation, ij_error *err) {
    const gpu_vk *vk = &device->vk;
    IJ_TRY(gpu_vk_load(&device->vk, err));
    static const char *const layers[] = {"VK_LAYER_KHRONOS_validation"};
    static const char *const extensions[] = {VK_EXT_DEBUG_UTILS_EXTENSION_NAME, VK_EXT_VALIDATION_FEATURES_EXTENSION_NAME};
    static const VkValidationFeatureEnableEXT enables[] = {VK_VALIDATION_FEATURE_ENABLE_SYNCHRONIZATION_VALIDATION_EXT};
    if (validation && !has_layer(vk, layers[0])) {
        ij_fail(err, IJ_ERROR_DEVICE, "validation was asked for, but the layer %s is not installed", layers[0]);
        return ij_hint(err, "Debian, Ubuntu: apt install vulkan-validationlayers");
    }
    VkDebugUtilsMessengerCreateInfoEXT messenger = {
        .sType = VK_STRUCTURE_TYPE_DEBUG_UTILS_MESSENGER_CREATE_INFO_EXT,
        .messageSeverity = VK_DEBUG_UTILS_MESSAGE_SEVERITY_ERROR_BIT_EXT | VK_DEBUG_UTILS_MESSAGE_SEVERITY_WARNING_BIT_EXT,
        .messageType = VK_DEBUG_UTILS_MESSAGE_TYPE_VALIDATION_BIT_EXT | VK_DEBUG_UTILS_MESSAGE_TYPE_GENERAL_BIT_EXT,
        .pfnUserCallback = on_message,
        .pUserData = device};
    VkValidationFeaturesEXT features = {.sType = VK_STRUCTURE_TYPE_VALIDATION_FEATURES_EXT,
                                        .enabledValidationFeatureCount = IJ_COUNT(enables),
                                        .pEnabledValidationFeatures = enables};
    VkApplicationInfo app = {.sType = VK_STRUCTURE_TYPE_APPLICATION_INFO, .pApplicationName = "ijepa", .apiVersion = VK_API_VERSION_1_3};
    VkInstanceCreateInfo info = {.sType = VK_STRUCTURE_TYPE_INSTANCE_CREATE_INFO, .pApplicationInfo = &app};
    if (validation) {
        info.pNext = &features;
        info.enabledLayerCount = IJ_COUNT(layers);
        info.ppEnabledLayerNames = layers;
        info.enabledExtensionCount = IJ_COUNT(extensions);
        info.ppEnabledExtensionNames = extensions;
    }
    VkResult result = vk->vkCreateInstance(&info, NULL, &device->instance);
    if (result != VK_SUCCESS) {
        gpu_vk_fail(NULL, result, "no instance", err);
        return ij_hint(err, "is a driver installed? Debian, Ubuntu: apt install mesa-vulkan-drivers (lavapipe runs on any CPU)");
    }
    gpu_vk_load_instance(&device->vk, device->instance);
    if (validation)
        GPU_VK(NULL, vk->vkCreateDebugUtilsMessengerEXT(device->instance, &messenger, NULL, &device->messenger), "messenger", err);
    return IJ_OK;
}

static void destroy_instance(gpu_device *device) {
    if (device->messenger) device->vk.vkDestroyDebugUtilsMessengerEXT(device->instance, device->messenger, NULL);
    if (device->instance) device->vk.vkDestroyInstance(device->instance, NULL);
    gpu_vk_unload(&device->vk);
}

static bool has_extension(const gpu_vk *vk, VkPhysicalDevice physical, const char *name) {
    uint32_t count = 0;
    if (vk->vkEnumerateDeviceExtensionProperties(physical, NULL, &count, NULL) != VK_SUCCESS) return false;
    VkExtensionProperties *list = calloc(count ? count : 1, sizeof *list);
    bool found = false;
    if (list && vk->vkEnumerateDeviceExtensionProperties(physical, NULL, &count, list) >= 0)
        for (uint32_t i = 0; i < count; i++) found |= strcmp(list[i].extensionName, name) == 0;
    free(list);
    return found;
}

/* A queue family that computes, preferring one that also has timestamps; -1: none. */
static int compute_family(const gpu_vk *vk, VkPhysicalDevice physical, uint32_t *timestamp_bits) {
    VkQueueFamilyProperties families[32];
    uint32_t count = IJ_COUNT(families);
    vk->vkGetPhysicalDeviceQueueFamilyProperties(physical, &count, families);
    int best = -1;
    for (uint32_t i = 0; i < count; i++) {
        if (!(families[i].queueFlags & VK_QUEUE_COMPUTE_BIT)) continue;
        if (best < 0 || (families[i].timestampValidBits && !families[best].timestampValidBits)) best = (int)i;
    }
    *timestamp_bits = best >= 0 ? families[best].timestampValidBits : 0;
    return best;
}

static const char *why_refused(const gpu_info *info, int family, const VkPhysicalDeviceVulkan12Features *features12) {
    if (info->api_major == 1 && info->api_minor < 2) return "Vulkan older than 1.2";
    if (family < 0) return "no compute queue";
    if (!features12->timelineSemaphore) return "no timeline semaphores";
    if (info->shared_bytes < 32768) return "less than 32 KiB of shared memory";
    if (info->invocations_max < 256) return "fewer than 256 invocations in a workgroup";
    return NULL;
}

static void describe(const gpu_vk *vk, VkPhysicalDevice physical, gpu_info *info) {
    VkPhysicalDeviceSubgroupSizeControlPropertiesEXT control = {.sType =
                                                                    VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SUBGROUP_SIZE_CONTROL_PROPERTIES_EXT};
    VkPhysicalDeviceDriverProperties driver = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_DRIVER_PROPERTIES};
    VkPhysicalDeviceSubgroupProperties subgroup = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SUBGROUP_PROPERTIES, .pNext = &driver};
    VkPhysicalDeviceMaintenance3Properties maintenance = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MAINTENANCE_3_PROPERTIES,
                                                          .pNext = &subgroup};
    VkPhysicalDeviceProperties2 properties = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PROPERTIES_2, .pNext = &maintenance};
    bool sized = has_extension(vk, physical, VK_EXT_SUBGROUP_SIZE_CONTROL_EXTENSION_NAME);
    if (sized) driver.pNext = &control;
    vk->vkGetPhysicalDeviceProperties2(physical, &properties);
    const VkPhysicalDeviceProperties *p = &properties.properties;
    memset(info, 0, sizeof *info);
    snprintf(info->name, sizeof info->name, "%s", p->deviceName);
    snprintf(info->driver, sizeof info->driver, "%.200s %.200s", driver.driverName, driver.driverInfo);
    snprintf(info->identity, sizeof info->identity, "%04x-%04x-%08x-%02x%02x%02x%02x", p->vendorID, p->deviceID, p->driverVersion,
             p->pipelineCacheUUID[0], p->pipelineCacheUUID[1], p->pipelineCacheUUID[2], p->pipelineCacheUUID[3]);
    static const gpu_kind kinds[] = {GPU_KIND_OTHER, GPU_KIND_INTEGRATED, GPU_KIND_DISCRETE, GPU_KIND_VIRTUAL, GPU_KIND_CPU};
    info->kind = (unsigned)p->deviceType < 5u ? kinds[p->deviceType] : GPU_KIND_OTHER;
    info->vendor = p->vendorID;
    info->api_major = VK_API_VERSION_MAJOR(p->apiVersion);
    info->api_minor = VK_API_VERSION_MINOR(p->apiVersion);
    info->api_patch = VK_API_VERSION_PATCH(p->apiVersion);
    info->subgroup_size = info->subgroup_min = info->subgroup_max = subgroup.subgroupSize;
    if (sized && control.minSubgroupSize) info->subgroup_min = control.minSubgroupSize, info->subgroup_max = control.maxSubgroupSize;
    info->subgroup_arithmetic =
        (subgroup.supportedStages & VK_SHADER_STAGE_COMPUTE_BIT) && (subgroup.supportedOperations & VK_SUBGROUP_FEATURE_ARITHMETIC_BIT);
    info->shared_bytes = p->limits.maxComputeSharedMemorySize;
    info->invocations_max = p->limits.maxComputeWorkGroupInvocations;
    memcpy(info->groups_max, p->limits.maxComputeWorkGroupCount, sizeof info->groups_max);
    info->push_bytes = p->limits.maxPushConstantsSize;
    info->range_max = p->limits.maxStorageBufferRange;
    info->allocation_max = maintenance.maxMemoryAllocationSize;
    VkPhysicalDeviceMemoryBudgetPropertiesEXT budget = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MEMORY_BUDGET_PROPERTIES_EXT};
    VkPhysicalDeviceMemoryProperties2 memory = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MEMORY_PROPERTIES_2};
    /* RADV without hardware crashes in the budget query, and software drivers have nothing to say there. */
    if (info->kind != GPU_KIND_CPU && !getenv("RADV_FORCE_FAMILY") && has_extension(vk, physical, VK_EXT_MEMORY_BUDGET_EXTENSION_NAME))
        memory.pNext = &budget;
    vk->vkGetPhysicalDeviceMemoryProperties2(physical, &memory);
    for (uint32_t i = 0; i < memory.memoryProperties.memoryHeapCount; i++) {
        const VkMemoryHeap *heap = &memory.memoryProperties.memoryHeaps[i];
        if (!(heap->flags & VK_MEMORY_HEAP_DEVICE_LOCAL_BIT) || heap->size < info->heap_bytes) continue;
        info->heap_bytes = heap->size;
        info->budget_bytes =
            memory.pNext && budget.heapBudget[i]
                ? budget.heapBudget[i] - (budget.heapUsage[i] < budget.heapBudget[i] ? budget.heapUsage[i] : budget.heapBudget[i])
                : heap->size;
    }
    VkPhysicalDeviceVulkan12Features features12 = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_2_FEATURES};
    VkPhysicalDeviceFeatures2 features = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_FEATURES_2, .pNext = &features12};
    if (info->api_major > 1 || info->api_minor >= 2) vk->vkGetPhysicalDeviceFeatures2(physical, &features);
    /* Only where they were measured to be the faster way: lavapipe since Mesa 26. Older ones make gathers of uniform loads, and
     * for AMD's GPUs the compiler makes clearly better address code from descriptors. */
    info->addresses = features12.bufferDeviceAddress && features.features.shaderInt64 && driver.driverID == VK_DRIVER_ID_MESA_LLVMPIPE &&
                      VK_API_VERSION_MAJOR(p->driverVersion) >= 26;
    uint32_t bits = 0;
    int family = compute_family(vk, physical, &bits);
    info->tick_ns = bits ? (double)p->limits.timestampPeriod : 0;
    info->refused = why_refused(info, family, &features12);
}

/* ---- what multiplies matrices ---- */

static bool element_of(VkComponentTypeKHR type, gpu_element *out) {
    *out = type == VK_COMPONENT_TYPE_BFLOAT16_KHR ? GPU_BF16 : GPU_F16;
    return type == VK_COMPONENT_TYPE_FLOAT16_KHR || type == VK_COMPONENT_TYPE_BFLOAT16_KHR;
}

static bool wanted(const gpu_info *info, gpu_element element) { return element == GPU_BF16 ? info->bf16 : info->f16; }

/* Every sType must be set before the call: drivers crash otherwise (Vulkan-Docs issue 2613). */
static void list_shapes(const gpu_vk *vk, VkPhysicalDevice physical, gpu_info *info) {
    PFN_vkGetPhysicalDeviceCooperativeMatrixPropertiesKHR list = vk->vkGetPhysicalDeviceCooperativeMatrixPropertiesKHR;
    VkCooperativeMatrixPropertiesKHR found[128];
    uint32_t count = IJ_COUNT(found);
    memset(found, 0, sizeof found);
    for (uint32_t i = 0; i < count; i++) found[i].sType = VK_STRUCTURE_TYPE_COOPERATIVE_MATRIX_PROPERTIES_KHR;
    if (!list || list(physical, &count, found) < 0) return;
    for (uint32_t i = 0; i < count && info->shape_count < GPU_SHAPES_MAX; i++) {
        const VkCooperativeMatrixPropertiesKHR *p = &found[i];
        gpu_element element;
        if (p->scope != VK_SCOPE_SUBGROUP_KHR || p->saturatingAccumulation || p->AType != p->BType || !element_of(p->AType, &element) ||
            p->CType != VK_COMPONENT_TYPE_FLOAT32_KHR || p->ResultType != VK_COMPONENT_TYPE_FLOAT32_KHR || !wanted(info, element))
            continue;
        info->shapes[info->shape_count++] = (gpu_matrix_shape){element, p->MSize, p->NSize, p->KSize};
    }
}

/* A name in the extension list says little (one driver lists this extension with no shape in it), so everything that the
 * kernels use is asked for, and the list must have shapes at workgroup scope. */
static void list_flexible(const gpu_vk *vk, VkPhysicalDevice physical, gpu_info *info) {
    VkPhysicalDeviceCooperativeMatrix2FeaturesNV has = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_COOPERATIVE_MATRIX_2_FEATURES_NV};
    VkPhysicalDeviceFeatures2 features = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_FEATURES_2, .pNext = &has};
    vk->vkGetPhysicalDeviceFeatures2(physical, &features);
    if (!has.cooperativeMatrixWorkgroupScope || !has.cooperativeMatrixFlexibleDimensions || !has.cooperativeMatrixConversions ||
        !has.cooperativeMatrixPerElementOperations || !has.cooperativeMatrixReductions || !has.cooperativeMatrixTensorAddressing ||
        !has.cooperativeMatrixBlockLoads)
        return;
    PFN_vkGetPhysicalDeviceCooperativeMatrixFlexibleDimensionsPropertiesNV list =
        vk->vkGetPhysicalDeviceCooperativeMatrixFlexibleDimensionsPropertiesNV;
    VkCooperativeMatrixFlexibleDimensionsPropertiesNV found[128];
    uint32_t count = IJ_COUNT(found);
    memset(found, 0, sizeof found);
    for (uint32_t i = 0; i < count; i++) found[i].sType = VK_STRUCTURE_TYPE_COOPERATIVE_MATRIX_FLEXIBLE_DIMENSIONS_PROPERTIES_NV;
    if (!list || list(physical, &count, found) < 0) return;
    for (uint32_t i = 0; i < count && info->flexible_count < GPU_SHAPES_MAX; i++) {
        const VkCooperativeMatrixFlexibleDimensionsPropertiesNV *p = &found[i];
        gpu_element element;
        if (p->scope != VK_SCOPE_WORKGROUP_KHR || p->saturatingAccumulation || p->AType != p->BType || !element_of(p->AType, &element) ||
            p->CType != VK_COMPONENT_TYPE_FLOAT32_KHR || p->ResultType != VK_COMPONENT_TYPE_FLOAT32_KHR || !wanted(info, element))
            continue;
        info->flexible[info->flexible_count++] =
            (gpu_matrix_flexible){element, p->MGranularity, p->NGranularity, p->KGranularity, p->workgroupInvocations};
    }
    VkPhysicalDeviceCooperativeMatrix2PropertiesNV limits = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_COOPERATIVE_MATRIX_2_PROPERTIES_NV};
    VkPhysicalDeviceProperties2 properties = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PROPERTIES_2, .pNext = &limits};
    vk->vkGetPhysicalDeviceProperties2(physical, &properties);
    info->flexible_reserved_bytes = limits.cooperativeMatrixWorkgroupScopeReservedSharedMemory;
    info->flexible_dimension_max = limits.cooperativeMatrixFlexibleDimensionsMaxDimension;
}

static uint32_t count_cores(const gpu_vk *vk, VkPhysicalDevice physical) {
    VkPhysicalDeviceShaderSMBuiltinsPropertiesNV nvidia = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SHADER_SM_BUILTINS_PROPERTIES_NV};
    VkPhysicalDeviceShaderCorePropertiesAMD amd = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SHADER_CORE_PROPERTIES_AMD};
    VkPhysicalDeviceShaderCoreProperties2AMD amd2 = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SHADER_CORE_PROPERTIES_2_AMD};
    VkPhysicalDeviceProperties2 properties = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PROPERTIES_2};
    bool is_nvidia = has_extension(vk, physical, VK_NV_SHADER_SM_BUILTINS_EXTENSION_NAME);
    if (is_nvidia)
        properties.pNext = &nvidia;
    else if (has_extension(vk, physical, VK_AMD_SHADER_CORE_PROPERTIES_2_EXTENSION_NAME))
        properties.pNext = &amd2;
    else if (has_extension(vk, physical, VK_AMD_SHADER_CORE_PROPERTIES_EXTENSION_NAME))
        properties.pNext = &amd;
    else
        return 0;
    vk->vkGetPhysicalDeviceProperties2(physical, &properties);
    if (is_nvidia) return nvidia.shaderSMCount;
    if (amd2.activeComputeUnitCount) return amd2.activeComputeUnitCount;
    return amd.shaderEngineCount * amd.shaderArraysPerEngineCount * amd.computeUnitsPerShaderArray;
}

/* Steps of the ladder that can be switched off, to find out which one a driver gets wrong, or for tests. */
enum {
    OFF_F16 = 1,        /* arithmetic and matrices in f16; packed storage needs nothing of the device and stays */
    OFF_BF16 = 2,       /* matrices in bf16, likewise */
    OFF_COOPMAT = 4,    /* matrices of a subgroup, and of a workgroup */
    OFF_COOPMAT2 = 8,   /* matrices of a workgroup */
    OFF_ADDRESSES = 16, /* tensors by address */
};

static ij_status parse_off(const char *text, uint32_t *off, ij_error *err) {
    static const char *const names[] = {"f16", "bf16", "coopmat", "coopmat2", "addresses"};
    *off = 0;
    while (text && *text) {
        size_t length = strcspn(text, ",");
        int i = 0;
        while (i < IJ_COUNT(names) && !(strlen(names[i]) == length && strncmp(text, names[i], length) == 0)) i++;
        if (i == IJ_COUNT(names))
            return ij_fail(err, IJ_ERROR_ARGUMENT,
                           "off: \"%.*s\" is nothing that can be switched off; there are f16, bf16, coopmat, coopmat2, addresses",
                           (int)(length < 40 ? length : 40), text);
        *off |= 1u << i;
        text += length + (text[length] == ',');
    }
    return IJ_OK;
}

/* Matrix extensions need a device of Vulkan 1.3 (their modules are SPIR-V 1.6), f16 arithmetic and the Vulkan memory model. */
static void describe_matrices(const gpu_vk *vk, VkPhysicalDevice physical, uint32_t off, gpu_info *info) {
    if (info->refused) return;
    VkPhysicalDeviceVulkan12Features has = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_2_FEATURES};
    VkPhysicalDeviceCooperativeMatrixFeaturesKHR matrix = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_COOPERATIVE_MATRIX_FEATURES_KHR};
    VkPhysicalDeviceShaderBfloat16FeaturesKHR bfloat = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SHADER_BFLOAT16_FEATURES_KHR};
    VkPhysicalDeviceFeatures2 features = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_FEATURES_2, .pNext = &has};
    bool coopmat = has_extension(vk, physical, VK_KHR_COOPERATIVE_MATRIX_EXTENSION_NAME);
    if (coopmat) matrix.pNext = has.pNext, has.pNext = &matrix;
    if (has_extension(vk, physical, VK_KHR_SHADER_BFLOAT16_EXTENSION_NAME)) bfloat.pNext = has.pNext, has.pNext = &bfloat;
    vk->vkGetPhysicalDeviceFeatures2(physical, &features);
    if (off & OFF_ADDRESSES) info->addresses = false;
    info->f16 = has.shaderFloat16 && !(off & OFF_F16);
    info->bf16 = bfloat.shaderBFloat16Type && bfloat.shaderBFloat16CooperativeMatrix && !(off & OFF_BF16);
    info->cores = count_cores(vk, physical);
    bool modern = info->api_major > 1 || info->api_minor >= 3;
    /* Mesa's CPU driver (26.1) lists 8 x 8 x 8 whatever its vectors are, and its compiler crashes on it where they have 16 lanes. */
    if (info->kind == GPU_KIND_CPU && info->subgroup_size > 8) coopmat = false;
    if (!coopmat || !matrix.cooperativeMatrix || !has.vulkanMemoryModel || !has.vulkanMemoryModelDeviceScope || !modern ||
        (off & OFF_COOPMAT)) {
        info->bf16 = false;
        return;
    }
    list_shapes(vk, physical, info);
    if (!(off & OFF_COOPMAT2) && has_extension(vk, physical, VK_NV_COOPERATIVE_MATRIX_2_EXTENSION_NAME)) list_flexible(vk, physical, info);
}

#define DEVICES_MAX 64

static ij_status enumerate(gpu_device *device, uint32_t off, VkPhysicalDevice physical[DEVICES_MAX], gpu_info *infos, uint32_t *count,
                           ij_error *err) {
    const gpu_vk *vk = &device->vk;
    *count = DEVICES_MAX;
    VkResult result = vk->vkEnumeratePhysicalDevices(device->instance, count, physical);
    if (result < 0) return gpu_vk_fail(NULL, result, "listing devices", err);
    if (*count == 0) {
        ij_fail(err, IJ_ERROR_DEVICE, "no Vulkan device: the loader found no driver");
        return ij_hint(err, "Debian, Ubuntu: apt install mesa-vulkan-drivers (it has lavapipe, which runs on any CPU)");
    }
    for (uint32_t i = 0; i < *count; i++) {
        describe(vk, physical[i], &infos[i]);
        describe_matrices(vk, physical[i], off, &infos[i]);
    }
    return IJ_OK;
}

ij_status gpu_list(bool validation, gpu_info **infos, int *count, ij_error *err) {
    gpu_device device = {0};
    VkPhysicalDevice physical[DEVICES_MAX];
    uint32_t found = 0;
    *infos = NULL;
    *count = 0;
    IJ_TRY(ij_alloc(infos, DEVICES_MAX, sizeof **infos, "device list", err));
    ij_status status = make_instance(&device, validation, err);
    if (status == IJ_OK) status = enumerate(&device, 0, physical, *infos, &found, err);
    destroy_instance(&device);
    if (status != IJ_OK) {
        free(*infos);
        *infos = NULL;
    }
    *count = (int)found;
    return status;
}

static bool contains_any_case(const char *text, const char *part) {
    size_t length = strlen(part);
    for (; *text; text++) {
        size_t i = 0;
        while (i < length && text[i] && tolower((unsigned char)text[i]) == tolower((unsigned char)part[i])) i++;
        if (i == length) return true;
    }
    return length == 0;
}

/* A refused device is never chosen by score, and says why when it is asked for by name. */
ij_status gpu_choose(const gpu_info *infos, int count, const char *select, int *chosen, ij_error *err) {
    static const int score_of[] = {
        [GPU_KIND_OTHER] = 1, [GPU_KIND_INTEGRATED] = 4, [GPU_KIND_DISCRETE] = 5, [GPU_KIND_VIRTUAL] = 3, [GPU_KIND_CPU] = 2};
    int best = -1, best_score = 0;
    char *end = NULL;
    long index = select && *select ? strtol(select, &end, 10) : -1;
    bool by_index = end && *end == 0;
    if (by_index && (index < 0 || index >= (long)count))
        return ij_fail(err, IJ_ERROR_ARGUMENT, "device %ld: this machine has %d (0 to %d)", index, count, count - 1);
    for (int i = 0; i < count; i++) {
        if (by_index && i != index) continue;
        if (!by_index && select && *select && !contains_any_case(infos[i].name, select)) continue;
        int score = infos[i].refused ? 0 : score_of[infos[i].kind];
        if (best < 0 || score > best_score) best = i, best_score = score;
    }
    if (best < 0)
        return ij_fail(err, IJ_ERROR_ARGUMENT, "no device's name contains \"%s\" (%d present; see: ijepa devices)", select, count);
    if (infos[best].refused) return ij_fail(err, IJ_ERROR_DEVICE, "%s cannot be used: %s", infos[best].name, infos[best].refused);
    *chosen = best;
    return IJ_OK;
}

static ij_status make_device(gpu_device *device, bool compile_only, ij_error *err) {
    const gpu_vk *vk = &device->vk;
    uint32_t bits;
    device->queue_family = (uint32_t)compute_family(vk, device->physical, &bits);
    const float priority = 1.0f;
    VkDeviceQueueCreateInfo queue = {.sType = VK_STRUCTURE_TYPE_DEVICE_QUEUE_CREATE_INFO,
                                     .queueFamilyIndex = device->queue_family,
                                     .queueCount = 1,
                                     .pQueuePriorities = &priority};
    VkPhysicalDeviceSubgroupSizeControlFeaturesEXT control = {.sType =
                                                                  VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SUBGROUP_SIZE_CONTROL_FEATURES_EXT};
    VkPhysicalDeviceVulkan12Features features12 = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_2_FEATURES,
                                                   .timelineSemaphore = VK_TRUE};
    VkPhysicalDeviceFeatures2 features = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_FEATURES_2, .pNext = &features12};
    const char *extensions[8];
    uint32_t extension_count = 0;
    VkPhysicalDeviceCooperativeMatrixFeaturesKHR matrix = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_COOPERATIVE_MATRIX_FEATURES_KHR,
                                                           .cooperativeMatrix = VK_TRUE};
    VkPhysicalDeviceShaderBfloat16FeaturesKHR bfloat = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SHADER_BFLOAT16_FEATURES_KHR,
                                                        .shaderBFloat16Type = VK_TRUE,
                                                        .shaderBFloat16CooperativeMatrix = VK_TRUE};
    VkPhysicalDeviceCooperativeMatrix2FeaturesNV matrix2 = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_COOPERATIVE_MATRIX_2_FEATURES_NV,
                                                            .cooperativeMatrixWorkgroupScope = VK_TRUE,
                                                            .cooperativeMatrixFlexibleDimensions = VK_TRUE,
                                                            .cooperativeMatrixReductions = VK_TRUE,
                                                            .cooperativeMatrixConversions = VK_TRUE,
                                                            .cooperativeMatrixPerElementOperations = VK_TRUE,
                                                            .cooperativeMatrixTensorAddressing = VK_TRUE,
                                                            .cooperativeMatrixBlockLoads = VK_TRUE};
    VkPhysicalDevice16BitStorageFeatures storage16 = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_16BIT_STORAGE_FEATURES,
                                                      .storageBuffer16BitAccess = VK_TRUE};
    if (has_extension(vk, device->physical, VK_EXT_SUBGROUP_SIZE_CONTROL_EXTENSION_NAME)) {
        VkPhysicalDeviceFeatures2 query = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_FEATURES_2, .pNext = &control};
        vk->vkGetPhysicalDeviceFeatures2(device->physical, &query);
        device->subgroup_control = control.subgroupSizeControl;
        device->full_subgroups = control.subgroupSizeControl && control.computeFullSubgroups;
        if (device->subgroup_control) {
            extensions[extension_count++] = VK_EXT_SUBGROUP_SIZE_CONTROL_EXTENSION_NAME;
            features12.pNext = &control;
        }
    }
    const gpu_info *has = &device->info;
    /* Modules of matrix kernels are SPIR-V 1.6, in which workgroup sizes by specialisation need this; Vulkan 1.3 devices have it. */
    VkPhysicalDeviceMaintenance4Features maintenance4 = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MAINTENANCE_4_FEATURES,
                                                         .maintenance4 = VK_TRUE};
    if (has->shape_count) maintenance4.pNext = features12.pNext, features12.pNext = &maintenance4;
    features12.shaderFloat16 = has->f16;
    features12.bufferDeviceAddress = has->addresses;
    features.features.shaderInt64 = has->addresses;
    if (has->shape_count) {
        extensions[extension_count++] = VK_KHR_COOPERATIVE_MATRIX_EXTENSION_NAME;
        features12.vulkanMemoryModel = VK_TRUE;
        features12.vulkanMemoryModelDeviceScope = VK_TRUE; /* what atomics in buffers say */
        matrix.pNext = features12.pNext, features12.pNext = &matrix;
    }
    if (has->bf16) {
        extensions[extension_count++] = VK_KHR_SHADER_BFLOAT16_EXTENSION_NAME;
        bfloat.pNext = features12.pNext, features12.pNext = &bfloat;
    }
    if (has->flexible_count) { /* its tensors are addressed as arrays of 16-bit elements */
        extensions[extension_count++] = VK_NV_COOPERATIVE_MATRIX_2_EXTENSION_NAME;
        matrix2.pNext = features12.pNext, storage16.pNext = &matrix2, features12.pNext = &storage16;
    }
    VkPhysicalDevicePipelineExecutablePropertiesFeaturesKHR executable = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PIPELINE_EXECUTABLE_PROPERTIES_FEATURES_KHR,
        .pNext = features12.pNext,
        .pipelineExecutableInfo = VK_TRUE};
    if (compile_only) {
        if (!has_extension(vk, device->physical, VK_KHR_PIPELINE_EXECUTABLE_PROPERTIES_EXTENSION_NAME))
            return ij_fail(err, IJ_ERROR_DEVICE, "%s: the driver gives no statistics (%s)", device->info.name,
                           VK_KHR_PIPELINE_EXECUTABLE_PROPERTIES_EXTENSION_NAME);
        extensions[extension_count++] = VK_KHR_PIPELINE_EXECUTABLE_PROPERTIES_EXTENSION_NAME;
        features12.pNext = &executable;
        device->compile_only = true;
    }
    VkDeviceCreateInfo info = {.sType = VK_STRUCTURE_TYPE_DEVICE_CREATE_INFO,
                               .pNext = &features,
                               .queueCreateInfoCount = 1,
                               .pQueueCreateInfos = &queue,
                               .enabledExtensionCount = extension_count,
                               .ppEnabledExtensionNames = extensions};
    GPU_VK(device, vk->vkCreateDevice(device->physical, &info, NULL, &device->handle), "opening the device", err);
    gpu_vk_load_device(&device->vk, device->handle);
    device->vk.vkGetDeviceQueue(device->handle, device->queue_family, 0, &device->queue);
    vk->vkGetPhysicalDeviceMemoryProperties(device->physical, &device->memory);
    VkCommandPoolCreateInfo pool = {.sType = VK_STRUCTURE_TYPE_COMMAND_POOL_CREATE_INFO, .queueFamilyIndex = device->queue_family};
    GPU_VK(device, device->vk.vkCreateCommandPool(device->handle, &pool, NULL, &device->pool), "command pool", err);
    if (compile_only) return IJ_OK; /* RADV without hardware has no timeline semaphores */
    VkSemaphoreTypeCreateInfo type = {.sType = VK_STRUCTURE_TYPE_SEMAPHORE_TYPE_CREATE_INFO, .semaphoreType = VK_SEMAPHORE_TYPE_TIMELINE};
    VkSemaphoreCreateInfo semaphore = {.sType = VK_STRUCTURE_TYPE_SEMAPHORE_CREATE_INFO, .pNext = &type};
    GPU_VK(device, device->vk.vkCreateSemaphore(device->handle, &semaphore, NULL, &device->timeline), "timeline semaphore", err);
    return IJ_OK;
}

static ij_status make_service_memory(gpu_device *device, ij_error *err) {
    IJ_TRY(gpu_arena_create(device, "dummy", GPU_MEMORY_DEVICE, &device->dummy_arena, err));
    IJ_TRY(gpu_reserve(device->dummy_arena, (uint64_t)GPU_STAND_INS * GPU_ALIGN, "dummy", &device->dummy, err));
    IJ_TRY(gpu_arena_commit(device->dummy_arena, err));
    IJ_TRY(gpu_arena_create(device, "staging", GPU_MEMORY_READBACK, &device->staging_arena, err));
    IJ_TRY(gpu_reserve(device->staging_arena, GPU_STAGING_BYTES, "staging", &device->staging, err));
    return gpu_arena_commit(device->staging_arena, err);
}

static ij_status use_open(const gpu_device_desc *desc, gpu_device **out, ij_error *err) {
    if (desc->select || desc->validation || desc->cache_folder || desc->off || desc->compile_only)
        return ij_fail(err, IJ_ERROR_ARGUMENT,
                       "a device that is open (%s) is used as it is: name, validation, cache folder and what is off were said when it "
                       "was opened",
                       desc->open->info.name);
    desc->open->users++;
    *out = desc->open;
    return IJ_OK;
}

ij_status gpu_device_open(const gpu_device_desc *desc, gpu_device **out, ij_error *err) {
    *out = NULL;
    if (desc->open) return use_open(desc, out, err);
    gpu_device *device;
    IJ_TRY(ij_alloc(&device, 1, sizeof *device, "device", err));
    device->users = 1;
    device->on_message = desc->on_message, device->message_user = desc->user;
    VkPhysicalDevice physical[DEVICES_MAX];
    gpu_info *infos = NULL;
    uint32_t count = 0, off = 0;
    int chosen = 0;
    ij_status status = IJ_OK;
    IJ_TRY_GOTO(parse_off(desc->off, &off, err), done);
    IJ_TRY_GOTO(ij_alloc(&infos, DEVICES_MAX, sizeof *infos, "device list", err), done);
    IJ_TRY_GOTO(make_instance(device, desc->validation, err), done);
    IJ_TRY_GOTO(enumerate(device, off, physical, infos, &count, err), done);
    IJ_TRY_GOTO(gpu_choose(infos, (int)count, desc->select, &chosen, err), done);
    device->info = infos[chosen];
    device->physical = physical[chosen];
    IJ_TRY_GOTO(make_device(device, desc->compile_only, err), done);
    IJ_TRY_GOTO(gpu_cache_load(device, desc->cache_folder, err), done);
    IJ_TRY_GOTO(make_service_memory(device, err), done);
done:
    free(infos);
    if (status == IJ_OK)
        *out = device;
    else
        gpu_device_close(device);
    return status;
}

void gpu_device_close(gpu_device *device) {
    if (!device || --device->users > 0) return;
    if (device->slot && device->slot_destroy) device->slot_destroy(device->slot);
    if (device->handle) {
        if (device->submitted) device->vk.vkDeviceWaitIdle(device->handle);
        gpu_cache_save(device);
        gpu_kernels_destroy(device);
        gpu_arena_destroy(device->dummy_arena);
        gpu_arena_destroy(device->staging_arena);
        for (int i = 0; i < device->scratch_count; i++) gpu_arena_destroy(device->scratch_arenas[i]);
        if (device->cache) device->vk.vkDestroyPipelineCache(device->handle, device->cache, NULL);
        if (device->timeline) device->vk.vkDestroySemaphore(device->handle, device->timeline, NULL);
        if (device->pool) device->vk.vkDestroyCommandPool(device->handle, device->pool, NULL);
        device->vk.vkDestroyDevice(device->handle, NULL);
    }
    destroy_instance(device);
    free(device);
}

void **gpu_device_slot(gpu_device *device, void (*destroy)(void *)) {
    device->slot_destroy = destroy;
    return &device->slot;
}

const char *gpu_device_cache(const gpu_device *device) { return device->cache_folder; }

const gpu_info *gpu_device_info(const gpu_device *device) { return &device->info; }

int gpu_device_messages(const gpu_device *device, const char **first) {
    if (first) *first = device->first_message;
    return device->messages;
}
