/* Of each row and head, a subgroup for them: stats = (largest logit m, log sum of exp(z - m), loss, 1 if the first largest is the label's).
 *   loss = log sum - (1 - smoothing)(z[label] - m) - smoothing / classes x sum of (z - m)
 * Everything is relative to m, so that no exponential overflows and large logits lose no digits of the loss. A row whose label is not
 * below classes has loss 0 and is not right. */
//! variant cross_entropy -DSUBGROUPS=1 -DWIDTH=4
//! variant cross_entropy_any -DSUBGROUPS=1 -DWIDTH=1
//! variant cross_entropy_shared -DSUBGROUPS=0 -DWIDTH=1
#version 460
#extension GL_GOOGLE_include_directive : require
#include "row_lanes.h"
#include "cross_entropy.h"

layout(constant_id = 2) const bool RAGGED = true; /* the number of rows stands in offsets */
layout(push_constant) uniform Push { cross_entropy_push push; };

layout(binding = 0) readonly restrict buffer Logits { fvec logits[]; };    /* [rows, heads, classes] */
layout(binding = 1) readonly restrict buffer Labels { uint labels[]; };    /* [rows] */
layout(binding = 2) readonly restrict buffer Offsets { uint offsets[]; };
layout(binding = 3) writeonly restrict buffer Stats { vec4 stats[]; };     /* [rows, heads] */
layout(binding = 4) readonly restrict buffer Same { float elements[]; };   /* logits again, for the label's */

#if SUBGROUPS
float row_max(float v) { return subgroupMax(v); }
#else
float row_max(float v) {
    row_parts[gl_LocalInvocationIndex].x = v;
    barrier();
    float top = row_parts[row_slot() * ROW_LANES].x;
    for (uint i = 1; i < ROW_LANES; i++) top = max(top, row_parts[row_slot() * ROW_LANES + i].x);
    barrier(); /* the next call overwrites */
    return top;
}
#endif

#if WIDTH == 4
float fvec_max(vec4 v) { return max(max(v.x, v.y), max(v.z, v.w)); }
#define fvec_from(column) (4 * float(column) + vec4(0, 1, 2, 3)) /* the classes of a load; below 2^24, so exact */
#else
float fvec_max(float v) { return v; }
#define fvec_from(column) float(column)
#define lessThan(a, b) ((a) < (b))
#define greaterThanEqual(a, b) ((a) >= (b))
#endif

void main() {
    uint rows = RAGGED ? min(push.rows_max, offsets[push.rows_at]) : push.rows_max;
    uint count = rows * push.heads, first = group_index() * ROWS_PER_GROUP, item = first + row_slot();
    if (first >= count) return;
    bool mine = item < count; /* the others go along: the sums are the workgroup's */
    uint columns = mine ? push.columns : 0, begin = mine ? item * push.columns : 0, label = mine ? labels[item / push.heads] : ~0u;
    bool counts = label < push.classes;

    fvec top = fvec(-3.4028235e38);
    for (uint i = row_lane(); i < columns; i += ROW_LANES) top = max(top, logits[begin + i]);
    float m = row_max(fvec_max(top));

    fvec exponentials = fvec(0), shifted = fvec(0), before = fvec(0); /* the largest ones in front of the label */
    for (uint i = row_lane(); i < columns; i += ROW_LANES) {
        fvec z = logits[begin + i] - m;
        exponentials += exp(z);
        shifted += z;
        before += fvec(lessThan(fvec_from(i), fvec(label))) * fvec(greaterThanEqual(z, fvec(0)));
    }
    vec2 sums = row_sum(vec2(fvec_sum(exponentials), fvec_sum(shifted)));
    float rivals = row_sum(fvec_sum(before));
    if (!mine || row_lane() != 0) return;
    float log_sum = log(sums.x), own = counts ? elements[item * push.classes + label] - m : 0;
    float loss = log_sum - (1 - push.smoothing) * own - push.smoothing / float(push.classes) * sums.y;
    stats[item] = vec4(m, log_sum, counts ? loss : 0, counts && own == 0 && rivals == 0 ? 1 : 0);
}
