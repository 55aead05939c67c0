/* layer: base; uses: nothing */
#include "base/parallel.h"

#include <pthread.h>
#include <stdatomic.h>
#include <unistd.h>

#define THREADS_MAX 32

typedef struct loop {
    _Atomic int64_t next; /* piece that nobody has yet */
    int64_t count, size;
    ij_parallel_body *body;
    void *user;
} loop;

static void *work(void *argument) {
    loop *l = argument;
    for (;;) {
        int64_t piece = atomic_fetch_add_explicit(&l->next, 1, memory_order_relaxed), begin = piece * l->size;
        if (begin >= l->count) return NULL;
        l->body(l->user, begin, l->count - begin < l->size ? l->count : begin + l->size, piece);
    }
}

void ij_parallel(int threads, int64_t count, int64_t size, ij_parallel_body *body, void *user) {
    loop l = {.count = count, .size = size > 0 ? size : 1, .body = body, .user = user};
    int64_t wanted = threads > 0 ? threads : (int64_t)sysconf(_SC_NPROCESSORS_ONLN), pieces = (count + l.size - 1) / l.size;
    if (wanted > THREADS_MAX) wanted = THREADS_MAX;
    if (wanted > pieces) wanted = pieces;
    pthread_t handles[THREADS_MAX];
    int made = 0;
    while (made + 1 < wanted && pthread_create(&handles[made], NULL, work, &l) == 0) made++;
    work(&l);
    for (int i = 0; i < made; i++) pthread_join(handles[i], NULL);
}
