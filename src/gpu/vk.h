/* What the files of the gpu layer share among themselves.      layer: gpu (private); uses: base, Vulkan */
#ifndef IJ_GPU_VK_H
#define IJ_GPU_VK_H

#include "gpu/gpu.h"

#include "gpu/vk_compat.h"

#define GPU_BLOCK_BYTES ((uint64_t)1 << 30)
#define GPU_STAGING_BYTES ((uint64_t)16 << 20)
/* Behind every block where tensors are passed by address: reads by address are not checked, and a row that is read in whole vectors
 * ends up to a workgroup's columns behind the tensor. Nobody uses what is read there. */
#define GPU_PADDING 4096u
#define GPU_ALIGN 512u    /* a multiple of 256 even when halved: 16-bit copies of f32 arenas lie at half of each offset */
#define GPU_STAND_INS 128 /* parts of the dummy, see stand_in */

/* Vulkan's functions, a table for each device: what is loaded has no globals, so devices may be opened by several threads at once.
 * Those of GPU_VK_INSTANCE and GPU_VK_DEVICE are NULL where the driver lacks them. */
#define GPU_VK_GLOBAL(X) X(vkCreateInstance) X(vkEnumerateInstanceLayerProperties)
#define GPU_VK_INSTANCE(X)                                                                                                                 \
    X(vkCreateDebugUtilsMessengerEXT)                                                                                                      \
    X(vkCreateDevice)                                                                                                                      \
    X(vkDestroyDebugUtilsMessengerEXT)                                                                                                     \
    X(vkDestroyInstance)                                                                                                                   \
    X(vkEnumerateDeviceExtensionProperties)                                                                                                \
    X(vkEnumeratePhysicalDevices)                                                                                                          \
    X(vkGetDeviceProcAddr)                                                                                                                 \
    X(vkGetPhysicalDeviceCooperativeMatrixFlexibleDimensionsPropertiesNV)                                                                  \
    X(vkGetPhysicalDeviceCooperativeMatrixPropertiesKHR)                                                                                   \
    X(vkGetPhysicalDeviceFeatures2)                                                                                                        \
    X(vkGetPhysicalDeviceMemoryProperties)                                                                                                 \
    X(vkGetPhysicalDeviceMemoryProperties2)                                                                                                \
    X(vkGetPhysicalDeviceProperties2)                                                                                                      \
    X(vkGetPhysicalDeviceQueueFamilyProperties)
#define GPU_VK_DEVICE(X)                                                                                                                   \
    X(vkAllocateCommandBuffers)                                                                                                            \
    X(vkAllocateDescriptorSets)                                                                                                            \
    X(vkAllocateMemory)                                                                                                                    \
    X(vkBeginCommandBuffer)                                                                                                                \
    X(vkBindBufferMemory)                                                                                                                  \
    X(vkCmdBindDescriptorSets)                                                                                                             \
    X(vkCmdBindPipeline)                                                                                                                   \
    X(vkCmdCopyBuffer)                                                                                                                     \
    X(vkCmdDispatch)                                                                                                                       \
    X(vkCmdFillBuffer)                                                                                                                     \
    X(vkCmdPipelineBarrier)                                                                                                                \
    X(vkCmdPushConstants)                                                                                                                  \
    X(vkCmdResetQueryPool)                                                                                                                 \
    X(vkCmdWriteTimestamp)                                                                                                                 \
    X(vkCreateBuffer)                                                                                                                      \
    X(vkCreateCommandPool)                                                                                                                 \
    X(vkCreateComputePipelines)                                                                                                            \
    X(vkCreateDescriptorPool)                                                                                                              \
    X(vkCreateDescriptorSetLayout)                                                                                                         \
    X(vkCreatePipelineCache)                                                                                                               \
    X(vkCreatePipelineLayout)                                                                                                              \
    X(vkCreateQueryPool)                                                                                                                   \
    X(vkCreateSemaphore)                                                                                                                   \
    X(vkCreateShaderModule)                                                                                                                \
    X(vkDestroyBuffer)                                                                                                                     \
    X(vkDestroyCommandPool)                                                                                                                \
    X(vkDestroyDescriptorPool)                                                                                                             \
    X(vkDestroyDescriptorSetLayout)                                                                                                        \
    X(vkDestroyDevice)                                                                                                                     \
    X(vkDestroyPipeline)                                                                                                                   \
    X(vkDestroyPipelineCache)                                                                                                              \
    X(vkDestroyPipelineLayout)                                                                                                             \
    X(vkDestroyQueryPool)                                                                                                                  \
    X(vkDestroySemaphore)                                                                                                                  \
    X(vkDestroyShaderModule)                                                                                                               \
    X(vkDeviceWaitIdle)                                                                                                                    \
    X(vkEndCommandBuffer)                                                                                                                  \
    X(vkFreeCommandBuffers)                                                                                                                \
    X(vkFreeMemory)                                                                                                                        \
    X(vkGetBufferDeviceAddress)                                                                                                            \
    X(vkGetBufferMemoryRequirements)                                                                                                       \
    X(vkGetDeviceQueue)                                                                                                                    \
    X(vkGetPipelineCacheData)                                                                                                              \
    X(vkGetPipelineExecutableStatisticsKHR)                                                                                                \
    X(vkGetQueryPoolResults)                                                                                                               \
    X(vkMapMemory)                                                                                                                         \
    X(vkQueueSubmit)                                                                                                                       \
    X(vkUpdateDescriptorSets)                                                                                                              \
    X(vkWaitSemaphores)
typedef struct gpu_vk {
    void *library;
    PFN_vkGetInstanceProcAddr vkGetInstanceProcAddr;
#define GPU_VK_MEMBER(name) PFN_##name name;
    GPU_VK_GLOBAL(GPU_VK_MEMBER)
    GPU_VK_INSTANCE(GPU_VK_MEMBER)
    GPU_VK_DEVICE(GPU_VK_MEMBER)
#undef GPU_VK_MEMBER
} gpu_vk;

ij_status gpu_vk_load(gpu_vk *vk, ij_error *err); /* the loader and GPU_VK_GLOBAL; no loader is IJ_ERROR_DEVICE with a hint */
void gpu_vk_load_instance(gpu_vk *vk, VkInstance instance);
void gpu_vk_load_device(gpu_vk *vk, VkDevice device);
void gpu_vk_unload(gpu_vk *vk); /* after the instance is gone; a zeroed table is fine */

struct gpu_kernel {
    gpu_kernel_desc desc;
    char shader[96];
    uint32_t binding_count;
    uint32_t reads, writes; /* bit i: binding i */
    VkDescriptorSetLayout set_layout;
    VkPipelineLayout layout;
    VkPipeline pipeline;
    struct gpu_kernel *next;
};

struct gpu_device {
    gpu_info info;
    VkInstance instance;
    VkDebugUtilsMessengerEXT messenger;
    VkPhysicalDevice physical;
    VkDevice handle;
    gpu_vk vk;
    VkQueue queue;
    uint32_t queue_family;
    VkPhysicalDeviceMemoryProperties memory;
    VkCommandPool pool;
    VkSemaphore timeline;
    uint64_t submitted; /* last value handed out */
    VkPipelineCache cache;
    char cache_path[4096];
    bool cache_dirty;
    bool subgroup_control, full_subgroups;
    char cache_folder[4096]; /* "": none */
    void *slot;
    void (*slot_destroy)(void *);
    bool compile_only; /* see gpu_device_desc */
    gpu_kernel *kernels;
    gpu_arena *dummy_arena, *staging_arena;
    gpu_arena *scratch_arenas[32]; /* each at least twice as large as the one before it */
    int scratch_count;
    gpu_tensor dummy, staging, scratch;
    int users; /* opens without a close */
    int messages;
    char first_message[1024];
    void (*on_message)(void *user, const char *text); /* see gpu_device_desc */
    void *message_user;
};

typedef struct gpu_block {
    uint64_t bytes;
    VkBuffer buffer;
    VkDeviceMemory memory;
    void *mapped;
    uint64_t address; /* where the device has addresses */
} gpu_block;

struct gpu_arena {
    gpu_device *device;
    char name[64];
    gpu_memory kind;
    bool committed;
    gpu_block *blocks;
    int64_t block_count, block_capacity;
    uint32_t block; /* where the next reservation goes */
    uint64_t offset;
};

/* An embedded shader. The table is generated at build time from the shaders' `//! variant` lines. */
typedef struct gpu_shader {
    const char *name;
    const uint32_t *words;
    uint32_t word_count;
} gpu_shader;
extern const gpu_shader gpu_shaders[];
extern const int gpu_shader_count;

/* Binding count and access of a shader, read from its words. */
ij_status gpu_spirv_bindings(const gpu_shader *shader, uint32_t *count, uint32_t *reads, uint32_t *writes, ij_error *err);

/* Fills err from a Vulkan result; `doing` says what failed. */
ij_status gpu_vk_fail(gpu_device *device, VkResult result, const char *doing, ij_error *err);
#define GPU_VK(device, call, doing, err)                                                                                                   \
    do {                                                                                                                                   \
        VkResult gpu_vk_result_ = (call);                                                                                                  \
        if (gpu_vk_result_ != VK_SUCCESS) return gpu_vk_fail(device, gpu_vk_result_, doing, err);                                          \
    } while (0)

VkBuffer gpu_tensor_buffer(gpu_tensor tensor);
uint64_t gpu_tensor_address(gpu_tensor tensor);
void gpu_kernels_destroy(gpu_device *device);
ij_status gpu_cache_load(gpu_device *device, const char *folder, ij_error *err);
void gpu_cache_save(gpu_device *device);

#endif
