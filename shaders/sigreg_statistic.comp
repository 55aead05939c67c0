/* Of the projections u[r] on direction m, a workgroup a direction, with t_k = k SIGREG_END / (SIGREG_KNOTS - 1) and w_k the trapezoid's
 * weights on both sides of 0 times exp(-t_k^2 / 2):
 *   E_k = mean_r cos(t_k u[r]) - exp(-t_k^2 / 2)      S_k = mean_r sin(t_k u[r])
 *   statistic[m] = rows sum_k w_k (E_k^2 + S_k^2)
 *   slope[r, m] = dloss / du[r] = weight / directions 2 sum_k w_k t_k (S_k cos(t_k u[r]) - E_k sin(t_k u[r]))
 * The knots are equally far apart, so (cos, sin) of the next one is a rotation of the last: one evaluation a number. */
//! variant sigreg_statistic
#version 460
#extension GL_GOOGLE_include_directive : require
#include "sigreg.h"
#include "normal.h"

layout(local_size_x = SIGREG_LANES) in;
layout(constant_id = 0) const bool GRADIENT = false;
layout(push_constant) uniform Push { sigreg_push push; };

layout(binding = 0) readonly restrict buffer Projection { float u[]; };           /* [rows, directions] */
layout(binding = 1) writeonly restrict buffer Statistic { float statistic[]; };   /* [directions] */
layout(binding = 2) writeonly restrict buffer Slope { float slope[]; };           /* [rows, directions] */

const float SPACING = SIGREG_END / float(SIGREG_KNOTS - 1);

shared vec2 parts[SIGREG_LANES][SIGREG_KNOTS]; /* (cos, sin) of a lane's rows */
shared vec2 errors[SIGREG_KNOTS];              /* (E, S) */

vec2 turned(vec2 v, vec2 by) { return vec2(v.x * by.x - v.y * by.y, v.x * by.y + v.y * by.x); }
float gauss(uint k) { return exp(-0.5 * (SPACING * float(k)) * (SPACING * float(k))); }
float weight_of(uint k) { return (k == 0 || k == SIGREG_KNOTS - 1 ? 1 : 2) * SPACING * gauss(k); }

vec2 spacing_of(uint row) { return normal_turn(SPACING / 6.28318531 * u[row * push.directions + gl_WorkGroupID.x]); }

void main() {
    uint m = gl_WorkGroupID.x, lane = gl_LocalInvocationID.x;
    for (uint k = 0; k < SIGREG_KNOTS; k++) parts[lane][k] = vec2(0);
    for (uint r = lane; r < push.rows; r += SIGREG_LANES) {
        vec2 spacing = spacing_of(r), v = vec2(1, 0);
        for (uint k = 0; k < SIGREG_KNOTS; k++) {
            parts[lane][k] += v;
            v = turned(v, spacing);
        }
    }
    barrier();
    if (lane < SIGREG_KNOTS) {
        vec2 sum = vec2(0);
        for (uint i = 0; i < SIGREG_LANES; i++) sum += parts[i][lane];
        errors[lane] = sum / float(push.rows) - vec2(gauss(lane), 0);
    }
    barrier();
    if (lane == 0) {
        float sum = 0;
        for (uint k = 0; k < SIGREG_KNOTS; k++) sum += weight_of(k) * dot(errors[k], errors[k]);
        statistic[m] = sum * float(push.rows);
    }
    if (!GRADIENT) return;
    float scale = 2 * push.weight / float(push.directions);
    for (uint r = lane; r < push.rows; r += SIGREG_LANES) {
        vec2 spacing = spacing_of(r), v = vec2(1, 0);
        float sum = 0;
        for (uint k = 0; k < SIGREG_KNOTS; k++) {
            sum += weight_of(k) * SPACING * float(k) * (errors[k].y * v.x - errors[k].x * v.y);
            v = turned(v, spacing);
        }
        slope[r * push.directions + m] = scale * sum;
    }
}
