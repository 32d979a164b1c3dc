// Counts what a process takes from malloc and what it gives back, for `benchmark_ops.py --memory`:
//   cc -shared -fPIC -O2 count_allocations.c -o count_allocations.so && LD_PRELOAD=./count_allocations.so python ...
// Blocks below 4 KiB are left out.
#define _GNU_SOURCE
#include <errno.h>
#include <malloc.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>

enum { kLeast = 4096, kSlots = 1 << 20 };
static _Atomic(uintptr_t) known[kSlots];  // open addressing: the blocks that were counted; 1 where one was freed
static atomic_long now, peak;

extern void* __libc_malloc(size_t);
extern void* __libc_calloc(size_t, size_t);
extern void* __libc_realloc(void*, size_t);
extern void* __libc_memalign(size_t, size_t);
extern void __libc_free(void*);

static size_t slot_of(uintptr_t block) { return (block >> 4) * 0x9E3779B97F4A7C15u >> 44; }

static void* taken(void* block) {
  if (!block || malloc_usable_size(block) < kLeast) return block;
  for (size_t i = slot_of((uintptr_t)block);; i = (i + 1) % kSlots) {
    uintptr_t free_slot = atomic_load(&known[i]);
    if (free_slot > 1) continue;
    if (atomic_compare_exchange_strong(&known[i], &free_slot, (uintptr_t)block)) break;
  }
  const long total = atomic_fetch_add(&now, (long)malloc_usable_size(block)) + (long)malloc_usable_size(block);
  for (long most = atomic_load(&peak); total > most && !atomic_compare_exchange_weak(&peak, &most, total);) {
  }
  return block;
}

static void given_back(void* block) {
  if (!block || malloc_usable_size(block) < kLeast) return;
  for (size_t i = slot_of((uintptr_t)block);; i = (i + 1) % kSlots) {
    const uintptr_t here = atomic_load(&known[i]);
    if (here == 0) return;
    if (here != (uintptr_t)block) continue;
    atomic_fetch_sub(&now, (long)malloc_usable_size(block));
    atomic_store(&known[i], 1);
    return;
  }
}

void* malloc(size_t size) { return taken(__libc_malloc(size)); }
void* calloc(size_t count, size_t size) { return taken(__libc_calloc(count, size)); }
void* memalign(size_t alignment, size_t size) { return taken(__libc_memalign(alignment, size)); }
void* aligned_alloc(size_t alignment, size_t size) { return taken(__libc_memalign(alignment, size)); }

int posix_memalign(void** block, size_t alignment, size_t size) {
  *block = memalign(alignment, size);
  return *block ? 0 : ENOMEM;
}

void* realloc(void* block, size_t size) {
  given_back(block);
  return taken(__libc_realloc(block, size));
}

void free(void* block) {
  given_back(block);
  __libc_free(block);
}

// What is taken now; the peak is counted from here on.
long allocations_reset(void) {
  atomic_store(&peak, atomic_load(&now));
  return atomic_load(&now);
}

long allocations_peak(void) { return atomic_load(&peak); }
