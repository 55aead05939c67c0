/* layer: data; uses: dataset, crop, order, base
 *
 * State, all under `lock`:
 *     next_ticket -----> tickets handed to threads; ticket t is place t % batch of batch first_batch + t / batch
 *     consumed           batches that `next` has given out; batch b lives in slots[b % slot_count]
 *     a ticket of batch b is handed out only when b < consumed' + slot_count, where consumed' leaves out the batch in the caller's hands
 * A slot: free -> being filled (missing > 0) -> packed by the thread that brought missing to 0 -> ready -> in the caller's hands -> free.
 */
#include "data/loader.h"
#include "base/memory.h"
#include "data/order.h"

#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define REPLACEMENTS_MAX 1000 /* damaged samples in a row after which the dataset is not worth training on */

typedef struct damage {
    int64_t sample;
    char text[600];
} damage;

/* One place of a batch: its pixels before they are packed, and what went wrong on the way to them. */
typedef struct place {
    uint8_t *pixels;
    int64_t capacity, bytes;
    damage *damages;
    int64_t damage_count, damage_capacity;
} place;

typedef struct slot {
    ij_loader_batch batch;
    ij_loader_item *items; /* [desc.batch] */
    place *places;         /* [desc.batch] */
    uint8_t *pixels;
    int64_t capacity;
    int missing; /* places still to be filled */
    bool ready;
    ij_status status; /* a failure that ends the epoch: memory, or nothing that decodes */
    ij_error err;
} slot;

struct ij_loader {
    const ij_dataset *dataset;
    ij_loader_desc desc;
    int64_t samples, batches; /* of the dataset or its subset; of an epoch on this rank */
    uint32_t *order;          /* [samples], read by threads while tickets are out */
    uint32_t *subset;         /* [samples]; NULL: all */
    int64_t epoch, first_batch;
    slot *slots;
    int slot_count;
    pthread_t *threads;
    int thread_count;
    pthread_mutex_t lock;
    pthread_cond_t work, ready; /* threads wait for tickets; next waits for a batch, start for idleness */
    int64_t next_ticket, ticket_count;
    int64_t given; /* batches given out since start */
    bool holds;    /* the caller has one of them in hand */
    int busy;      /* threads with a ticket */
    bool started, quit;
    uint8_t *reported; /* [dataset's samples / 8 + 1] bits: told to on_damaged; next's thread only */
    int64_t damaged;
};

/* ---- one sample ---- */

static ij_crop choose_crop(const ij_loader *loader, int64_t sample, int width, int height) {
    const ij_loader_desc *desc = &loader->desc;
    switch (desc->crop) {
    case IJ_CROP_RANDOM:
        return ij_crop_random(desc->seed, (uint32_t)loader->epoch, (uint64_t)sample, width, height, desc->scale, desc->ratio);
    case IJ_CROP_CENTER: return ij_crop_center(width, height, desc->resize_size, desc->image_size);
    default: return (ij_crop){0, 0, (float)width, (float)height};
    }
}

/* The pixels of the sample's crop, into its place. */
static ij_status cut(const ij_loader *loader, const ij_image *image, ij_image *scratch, ij_loader_item *item, place *to, ij_error *err) {
    const ij_loader_desc *d = &loader->desc;
    if (d->crop == IJ_CROP_SETTLED) {
        IJ_TRY(ij_preprocess_cut(&d->preprocess, d->whole, image, d->cap_bytes, scratch, &to->pixels, &to->capacity, &item->crop,
                                 &item->width, &item->height, err));
        to->bytes = (int64_t)item->width * item->height * image->channels;
        return IJ_OK;
    }
    item->crop = choose_crop(loader, item->sample, image->width, image->height);
    IJ_TRY(ij_crop_cut(image, loader->desc.cap_bytes, &item->crop, &to->pixels, &to->capacity, &item->width, &item->height, err));
    to->bytes = (int64_t)item->width * item->height * image->channels;
    return IJ_OK;
}

static ij_status note_damage(place *to, int64_t sample, const char *text, ij_error *err) {
    IJ_TRY(ij_grow(&to->damages, &to->damage_capacity, to->damage_count + 1, sizeof *to->damages, "list of damaged images", err));
    damage *entry = &to->damages[to->damage_count++];
    entry->sample = sample;
    memcpy(entry->text, text, sizeof entry->text);
    return IJ_OK;
}

/* Fills one place of a batch with the sample at `position` of the order, or with the first one after it that decodes. */
static ij_status fill_place(const ij_loader *loader, int64_t position, ij_image *image, ij_image *scratch, ij_loader_item *item, place *to,
                            ij_error *err) {
    int64_t stride = (int64_t)loader->desc.batch * loader->desc.world;
    to->damage_count = 0;
    for (int64_t tries = 0; tries < loader->samples && tries < REPLACEMENTS_MAX; tries++) {
        int64_t at = tries ? (position + stride + tries - 1) % loader->samples : position;
        item->sample = loader->order[at];
        item->label = ij_dataset_label(loader->dataset, item->sample);
        item->replaced = tries > 0;
        ij_error damaged;
        ij_status status = ij_dataset_read(loader->dataset, item->sample, image, &damaged);
        if (status == IJ_OK) return cut(loader, image, scratch, item, to, err);
        if (status == IJ_ERROR_MEMORY) {
            if (err) *err = damaged;
            return status;
        }
        IJ_TRY(note_damage(to, item->sample, damaged.text, err));
    }
    return ij_fail(err, IJ_ERROR_FORMAT, "%lld images in a row cannot be decoded, the last: %s", (long long)to->damage_count,
                   to->damage_count ? to->damages[to->damage_count - 1].text : "none");
}

static ij_status pack(slot *s, ij_error *err) {
    uint64_t bytes = 0;
    for (int i = 0; i < s->batch.count; i++) {
        s->items[i].offset = bytes;
        bytes += ((uint64_t)s->places[i].bytes + 15) / 16 * 16;
    }
    IJ_TRY(ij_grow(&s->pixels, &s->capacity, (int64_t)bytes, 1, "batch of pixels", err));
    for (int i = 0; i < s->batch.count; i++) {
        uint64_t used = (uint64_t)s->places[i].bytes;
        memcpy(s->pixels + s->items[i].offset, s->places[i].pixels, used);
        memset(s->pixels + s->items[i].offset + used, 0, (16 - used % 16) % 16);
    }
    s->batch.pixels = s->pixels;
    s->batch.bytes = bytes;
    s->batch.items = s->items;
    return IJ_OK;
}

/* ---- threads ---- */

static int64_t batch_begin(const ij_loader *loader, int64_t batch) {
    return (batch * loader->desc.world + loader->desc.rank) * loader->desc.batch;
}

/* Places of a batch that exist: fewer than desc.batch only at the end of an epoch without drop_last. */
static int batch_size(const ij_loader *loader, int64_t batch) {
    int64_t left = loader->samples - batch_begin(loader, batch);
    return left >= loader->desc.batch ? loader->desc.batch : left > 0 ? (int)left : 0;
}

static slot *slot_of(const ij_loader *loader, int64_t batch) { return &loader->slots[batch % loader->slot_count]; }

/* Under the lock: whether a ticket can be handed out now. */
static bool has_ticket(const ij_loader *loader) {
    if (loader->next_ticket >= loader->ticket_count) return false;
    int64_t ahead = loader->next_ticket / loader->desc.batch - (loader->given - (loader->holds ? 1 : 0));
    return ahead < loader->slot_count;
}

/* Under the lock: takes the next ticket; the first of a batch makes its slot ready to be filled. */
static slot *take_ticket(ij_loader *loader, int64_t *batch, int *index) {
    int64_t ticket = loader->next_ticket++;
    *batch = loader->first_batch + ticket / loader->desc.batch;
    *index = (int)(ticket % loader->desc.batch);
    slot *s = slot_of(loader, *batch);
    if (*index == 0) {
        s->batch =
            (ij_loader_batch){.number = *batch, .count = batch_size(loader, *batch), .channels = ij_dataset_channels(loader->dataset)};
        s->missing = s->batch.count;
        s->ready = false;
        s->status = IJ_OK;
    }
    return s;
}

static void *run_thread(void *argument) {
    ij_loader *loader = argument;
    ij_image image = {0}, scratch = {0};
    pthread_mutex_lock(&loader->lock);
    for (;;) {
        while (!loader->quit && !has_ticket(loader)) pthread_cond_wait(&loader->work, &loader->lock);
        if (loader->quit) break;
        int64_t batch;
        int index;
        slot *s = take_ticket(loader, &batch, &index);
        if (index >= s->batch.count) continue; /* behind the end of the epoch's last batch */
        loader->busy++;
        pthread_mutex_unlock(&loader->lock);

        ij_error err;
        ij_status status =
            fill_place(loader, batch_begin(loader, batch) + index, &image, &scratch, &s->items[index], &s->places[index], &err);

        pthread_mutex_lock(&loader->lock);
        if (status != IJ_OK && s->status == IJ_OK) s->status = status, s->err = err;
        if (--s->missing == 0) {
            if (s->status == IJ_OK) {
                pthread_mutex_unlock(&loader->lock);
                status = pack(s, &err);
                pthread_mutex_lock(&loader->lock);
                if (status != IJ_OK) s->status = status, s->err = err;
            }
            s->ready = true;
        }
        loader->busy--;
        pthread_cond_broadcast(&loader->ready);
    }
    pthread_mutex_unlock(&loader->lock);
    ij_image_free(&image);
    ij_image_free(&scratch);
    return NULL;
}

/* Under the lock: hands out no more tickets and waits until the threads have put theirs down. */
static void become_idle(ij_loader *loader) {
    loader->ticket_count = loader->next_ticket;
    while (loader->busy) pthread_cond_wait(&loader->ready, &loader->lock);
}

/* ---- opening and closing ---- */

static ij_status check_desc(ij_loader_desc *desc, ij_error *err) {
    if (!desc->batch) desc->batch = 1;
    if (!desc->world) desc->world = 1;
    if (!desc->prefetch) desc->prefetch = 3;
    if (!desc->threads) {
        long processors = sysconf(_SC_NPROCESSORS_ONLN);
        desc->threads = processors < 1 ? 1 : processors > 32 ? 32 : (int)processors;
    }
    if (desc->scale[0] == 0 && desc->scale[1] == 0) desc->scale[0] = 0.3, desc->scale[1] = 1;
    if (desc->ratio[0] == 0 && desc->ratio[1] == 0) desc->ratio[0] = 3.0 / 4, desc->ratio[1] = 4.0 / 3;
    if (!desc->image_size) desc->image_size = 224;
    if (!desc->resize_size) desc->resize_size = (int)((int64_t)desc->image_size * 256 / 224);
    if (!desc->cap_bytes) desc->cap_bytes = 4 << 20;
    if (desc->batch < 1 || desc->batch > 1 << 20) return ij_fail(err, IJ_ERROR_ARGUMENT, "loader: batch of %d samples", desc->batch);
    if (desc->world < 1 || desc->rank < 0 || desc->rank >= desc->world)
        return ij_fail(err, IJ_ERROR_ARGUMENT, "loader: rank %d of %d", desc->rank, desc->world);
    if (desc->threads < 1 || desc->threads > 1024 || desc->prefetch < 1 || desc->prefetch > 1024)
        return ij_fail(err, IJ_ERROR_ARGUMENT, "loader: %d threads, %d batches ahead", desc->threads, desc->prefetch);
    if (!(desc->scale[0] > 0 && desc->scale[0] <= desc->scale[1] && desc->scale[1] <= 1))
        return ij_fail(err, IJ_ERROR_ARGUMENT, "loader: crop scale [%g, %g], expected 0 < low <= high <= 1", desc->scale[0],
                       desc->scale[1]);
    if (!(desc->ratio[0] > 0 && desc->ratio[0] <= desc->ratio[1] && desc->ratio[1] <= 1000))
        return ij_fail(err, IJ_ERROR_ARGUMENT, "loader: crop ratio [%g, %g]", desc->ratio[0], desc->ratio[1]);
    if (desc->image_size < 1 || desc->resize_size < 1 || desc->cap_bytes < 3)
        return ij_fail(err, IJ_ERROR_ARGUMENT, "loader: image size %d, resize %d, %lld bytes an image", desc->image_size, desc->resize_size,
                       (long long)desc->cap_bytes);
    return IJ_OK;
}

static ij_status allocate(ij_loader *loader, ij_error *err) {
    const ij_loader_desc *desc = &loader->desc;
    loader->slot_count = desc->prefetch + 1; /* and the one in the caller's hands */
    if (desc->subset) IJ_TRY(ij_alloc(&loader->subset, loader->samples, sizeof *loader->subset, "chosen samples", err));
    for (int64_t i = 0; i < loader->samples && desc->subset; i++) loader->subset[i] = (uint32_t)desc->subset[i];
    IJ_TRY(ij_alloc(&loader->order, loader->samples, sizeof *loader->order, "order of the samples", err));
    IJ_TRY(ij_alloc(&loader->reported, ij_dataset_count(loader->dataset) / 8 + 1, 1, "list of damaged images", err));
    IJ_TRY(ij_alloc(&loader->slots, loader->slot_count, sizeof *loader->slots, "loader", err));
    for (int i = 0; i < loader->slot_count; i++) {
        IJ_TRY(ij_alloc(&loader->slots[i].items, desc->batch, sizeof *loader->slots[i].items, "loader", err));
        IJ_TRY(ij_alloc(&loader->slots[i].places, desc->batch, sizeof *loader->slots[i].places, "loader", err));
    }
    IJ_TRY(ij_alloc(&loader->threads, desc->threads, sizeof *loader->threads, "loader", err));
    for (; loader->thread_count < desc->threads; loader->thread_count++) {
        int code = pthread_create(&loader->threads[loader->thread_count], NULL, run_thread, loader);
        if (code)
            return ij_fail(err, IJ_ERROR_MEMORY, "loader: thread %d of %d: %s", loader->thread_count + 1, desc->threads, strerror(code));
    }
    return IJ_OK;
}

ij_status ij_loader_open(const ij_dataset *dataset, const ij_loader_desc *desc, ij_loader **out, ij_error *err) {
    *out = NULL;
    ij_loader *loader;
    IJ_TRY(ij_alloc(&loader, 1, sizeof *loader, "loader", err));
    loader->dataset = dataset;
    loader->desc = *desc;
    loader->samples = desc->subset ? desc->subset_count : ij_dataset_count(dataset);
    pthread_mutex_init(&loader->lock, NULL);
    pthread_cond_init(&loader->work, NULL);
    pthread_cond_init(&loader->ready, NULL);
    ij_status status = check_desc(&loader->desc, err);
    if (status == IJ_OK && ij_dataset_count(dataset) > UINT32_MAX)
        status = ij_fail(err, IJ_ERROR_ARGUMENT, "loader: %lld samples", (long long)ij_dataset_count(dataset));
    if (status == IJ_OK) {
        int64_t together = (int64_t)loader->desc.batch * loader->desc.world;
        loader->batches = desc->drop_last ? loader->samples / together : (loader->samples + together - 1) / together;
        if (loader->batches == 0)
            status = ij_fail(err, IJ_ERROR_ARGUMENT, "%lld samples do not fill one batch of %lld", (long long)loader->samples,
                             (long long)together);
    }
    if (status == IJ_OK) status = allocate(loader, err);
    if (status == IJ_OK)
        *out = loader;
    else
        ij_loader_close(loader);
    return status;
}

void ij_loader_close(ij_loader *loader) {
    if (!loader) return;
    pthread_mutex_lock(&loader->lock);
    loader->quit = true;
    pthread_cond_broadcast(&loader->work);
    pthread_mutex_unlock(&loader->lock);
    for (int i = 0; i < loader->thread_count; i++) pthread_join(loader->threads[i], NULL);
    for (int i = 0; i < loader->slot_count && loader->slots; i++) {
        slot *s = &loader->slots[i];
        for (int k = 0; k < loader->desc.batch && s->places; k++) free(s->places[k].pixels), free(s->places[k].damages);
        free(s->places);
        free(s->items);
        free(s->pixels);
    }
    pthread_cond_destroy(&loader->ready);
    pthread_cond_destroy(&loader->work);
    pthread_mutex_destroy(&loader->lock);
    free(loader->slots);
    free(loader->threads);
    free(loader->reported);
    free(loader->order);
    free(loader->subset);
    free(loader);
}

/* ---- use ---- */

ij_status ij_loader_start(ij_loader *loader, int64_t epoch, int64_t first_batch, ij_error *err) {
    if (epoch < 0 || epoch > 65535 || first_batch < 0 || first_batch > loader->batches)
        return ij_fail(err, IJ_ERROR_ARGUMENT, "loader: epoch %lld, batch %lld of %lld", (long long)epoch, (long long)first_batch,
                       (long long)loader->batches);
    pthread_mutex_lock(&loader->lock);
    become_idle(loader);
    if (loader->desc.shuffle) {
        ij_order_shuffle(loader->desc.seed, epoch, loader->order, loader->samples);
    } else {
        for (int64_t i = 0; i < loader->samples; i++) loader->order[i] = (uint32_t)i;
    }
    for (int64_t i = 0; i < loader->samples && loader->subset; i++) loader->order[i] = loader->subset[loader->order[i]];
    loader->started = true;
    loader->epoch = epoch;
    loader->first_batch = first_batch;
    loader->given = 0;
    loader->holds = false;
    loader->next_ticket = 0;
    for (int i = 0; i < loader->slot_count; i++) loader->slots[i].ready = false;
    loader->ticket_count = (loader->batches - first_batch) * loader->desc.batch;
    pthread_cond_broadcast(&loader->work);
    pthread_mutex_unlock(&loader->lock);
    return IJ_OK;
}

/* Tells of damaged samples in the order of their places, each once. */
static void report_damages(ij_loader *loader, const slot *s) {
    for (int i = 0; i < s->batch.count; i++)
        for (int64_t k = 0; k < s->places[i].damage_count; k++) {
            const damage *entry = &s->places[i].damages[k];
            uint8_t *bits = &loader->reported[entry->sample / 8], bit = (uint8_t)(1u << (entry->sample % 8));
            if (*bits & bit) continue;
            *bits |= bit;
            loader->damaged++;
            if (loader->desc.on_damaged) loader->desc.on_damaged(loader->desc.user, entry->sample, entry->text);
        }
}

ij_status ij_loader_next(ij_loader *loader, const ij_loader_batch **out, ij_error *err) {
    static const ij_loader_batch over;
    *out = &over;
    if (!loader->started) return ij_fail(err, IJ_ERROR_ARGUMENT, "loader: next before start");
    pthread_mutex_lock(&loader->lock);
    if (loader->holds) { /* the batch of the call before is free now */
        loader->holds = false;
        pthread_cond_broadcast(&loader->work);
    }
    int64_t batch = loader->first_batch + loader->given;
    if (batch >= loader->batches || batch_size(loader, batch) == 0) {
        pthread_mutex_unlock(&loader->lock);
        return IJ_OK;
    }
    slot *s = slot_of(loader, batch);
    while (!(s->ready && s->batch.number == batch)) pthread_cond_wait(&loader->ready, &loader->lock);
    loader->given++;
    loader->holds = true;
    ij_status status = s->status;
    pthread_mutex_unlock(&loader->lock);
    report_damages(loader, s);
    if (status != IJ_OK) {
        if (err) *err = s->err;
        return status;
    }
    *out = &s->batch;
    return IJ_OK;
}

int64_t ij_loader_batches(const ij_loader *loader) { return loader->batches; }

int64_t ij_loader_damaged(const ij_loader *loader) { return loader->damaged; }

uint64_t ij_loader_max_bytes(const ij_loader *loader) {
    int64_t image = ij_dataset_image_bytes(loader->dataset), cap = loader->desc.cap_bytes;
    if (image == 0 || image > cap) image = cap;
    return (uint64_t)loader->desc.batch * (((uint64_t)image + 15) / 16 * 16);
}
