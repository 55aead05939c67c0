/* volk's own code, compiled once. volk keeps its instance-level pointers in globals; device-level ones live in gpu_device.
 * layer: gpu; uses: nothing */
#define VOLK_IMPLEMENTATION
#include <volk.h>
