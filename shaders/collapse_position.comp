/* At every position (patch, d), a lane each, over the images in order:
 *   mean = sum_i x[i, patch, d] / images
 *   moments = { sum_i (x - mean)^2 / images, sum_i f(x - mean) / images }      f: the loss function */
//! variant collapse_position
#version 460
#extension GL_GOOGLE_include_directive : require
#include "collapse.h"
#include "loss.h"

layout(local_size_x = COLLAPSE_COLUMNS) in;
layout(push_constant) uniform Push { collapse_position_push push; };

layout(binding = 0) readonly restrict buffer X { float x[]; };              /* [images, patches, dim] */
layout(binding = 1) writeonly restrict buffer Mean { float means[]; };      /* [patches, dim] */
layout(binding = 2) writeonly restrict buffer Moments { vec2 moments[]; };  /* [patches, dim] */

void main() {
    uint column = gl_GlobalInvocationID.x, patch_index = gl_WorkGroupID.y;
    if (column >= push.dim) return;
    uint at = patch_index * push.dim + column, image_size = push.patches * push.dim;
    float sum = 0;
    for (uint i = 0; i < push.images; i++) sum += x[i * image_size + at];
    float mean = sum / float(push.images);
    vec2 both = vec2(0);
    for (uint i = 0; i < push.images; i++) {
        float d = x[i * image_size + at] - mean;
        both += vec2(d * d, loss_value(push.kind, d));
    }
    means[at] = mean;
    moments[at] = both / float(push.images);
}
