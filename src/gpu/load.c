/* Vulkan's functions, found at run time: a program that embeds the library starts on machines without Vulkan.
 * layer: gpu; uses: base, the system's loader */
#include "gpu/vk.h"

#include <dlfcn.h>
#include <string.h>

/* POSIX says that dlsym's pointer may be called; ISO C does not, so the bits are copied. */
static PFN_vkGetInstanceProcAddr entry_of(void *library) {
    void *symbol = dlsym(library, "vkGetInstanceProcAddr");
    PFN_vkGetInstanceProcAddr entry;
    _Static_assert(sizeof entry == sizeof symbol, "a function's address is as large as a pointer");
    memcpy(&entry, &symbol, sizeof entry);
    return entry;
}

ij_status gpu_vk_load(gpu_vk *vk, ij_error *err) {
    static const char *const names[] = {"libvulkan.so.1", "libvulkan.so"};
    /* Drivers leave threads and exit handlers behind: once loaded, their code stays. */
    for (int i = 0; i < IJ_COUNT(names) && !vk->library; i++) vk->library = dlopen(names[i], RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
    if (vk->library) vk->vkGetInstanceProcAddr = entry_of(vk->library);
    if (!vk->vkGetInstanceProcAddr) {
        ij_fail(err, IJ_ERROR_DEVICE, "no Vulkan loader (libvulkan.so.1) on this machine");
        return ij_hint(err, "Debian, Ubuntu: apt install libvulkan1 mesa-vulkan-drivers; NVIDIA: its own driver package");
    }
#define LOAD(name) vk->name = (PFN_##name)vk->vkGetInstanceProcAddr(NULL, #name);
    GPU_VK_GLOBAL(LOAD)
#undef LOAD
    return IJ_OK;
}

void gpu_vk_load_instance(gpu_vk *vk, VkInstance instance) {
#define LOAD(name) vk->name = (PFN_##name)vk->vkGetInstanceProcAddr(instance, #name);
    GPU_VK_INSTANCE(LOAD)
#undef LOAD
}

void gpu_vk_load_device(gpu_vk *vk, VkDevice device) {
#define LOAD(name) vk->name = (PFN_##name)vk->vkGetDeviceProcAddr(device, #name);
    GPU_VK_DEVICE(LOAD)
#undef LOAD
}

void gpu_vk_unload(gpu_vk *vk) {
    if (vk->library) dlclose(vk->library);
    *vk = (gpu_vk){0};
}
