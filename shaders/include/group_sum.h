/* The sum over a workgroup of 256 lanes, in the same order on every device: sixteen sums of sixteen, then the sum of these.
 * Two steps, not a tree of eight: software drivers pay dearly for a barrier. Every lane gets the sum.
 * Control flow around it must be uniform over the workgroup. GROUP_SUM_TYPE, defined before, is vec2 or the like [float]. */
#ifndef IJ_SHADER_GROUP_SUM_H
#define IJ_SHADER_GROUP_SUM_H

#define GROUP_SUM_LANES 256
#ifndef GROUP_SUM_TYPE
#define GROUP_SUM_TYPE float
#endif

shared GROUP_SUM_TYPE group_parts[GROUP_SUM_LANES];
shared GROUP_SUM_TYPE group_sums[16];

GROUP_SUM_TYPE group_sum(GROUP_SUM_TYPE v) {
    uint lane = gl_LocalInvocationIndex;
    group_parts[lane] = v;
    barrier();
    if (lane < 16) {
        GROUP_SUM_TYPE sum = GROUP_SUM_TYPE(0);
        for (uint i = 0; i < 16; i++) sum += group_parts[i * 16 + lane];
        group_sums[lane] = sum;
    }
    barrier(); /* enough for a second call too: it writes group_sums behind its own first barrier */
    GROUP_SUM_TYPE total = GROUP_SUM_TYPE(0);
    for (uint i = 0; i < 16; i++) total += group_sums[i];
    return total;
}

#endif
