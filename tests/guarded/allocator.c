// Preloaded into a process: aligned allocations, which is how TVM's runtime gets the memory of
// tensors, lie between inaccessible pages and end at one. What alignment leaves between is filled,
// and looked at when the memory is freed.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define PAGE 4096UL
#define SPACE (1UL << 40)
#define LARGEST (1UL << 30)
#define FILLED 0xCB

typedef struct {
  size_t size, pages;
} Block;

static unsigned char *space;
static Block *blocks;  // by the number of a block's first page
static size_t used;
static int busy;
static void (*real_free)(void *);

static void *reserve(size_t size, int protection) {
  void *start = mmap(0, size, protection, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  return start == MAP_FAILED ? 0 : start;
}

int posix_memalign(void **out, size_t alignment, size_t size) {
  if (alignment < 64) alignment = 64;
  if (size > LARGEST) return ENOMEM;
  size_t body = ((size ? size : 1) + alignment - 1) / alignment * alignment;
  size_t pages = (body + PAGE - 1) / PAGE * PAGE;
  while (__sync_lock_test_and_set(&busy, 1)) {
  }
  if (!space) {
    blocks = reserve(SPACE / PAGE * sizeof(Block), PROT_READ | PROT_WRITE);
    space = reserve(SPACE, PROT_NONE);
  }
  size_t at = used + PAGE;
  int room = space && blocks && at + pages + PAGE <= SPACE;
  if (room) used = at + pages;
  __sync_lock_release(&busy);
  if (!room || mprotect(space + at, pages, PROT_READ | PROT_WRITE)) return ENOMEM;
  blocks[at / PAGE] = (Block){size, pages};
  memset(space + at, FILLED, pages);
  *out = space + at + pages - body;
  return 0;
}

void free(void *given) {
  unsigned char *start = given;
  if (!space || start < space || start >= space + SPACE) {
    if (!real_free) real_free = dlsym(RTLD_NEXT, "free");
    real_free(given);
    return;
  }
  unsigned char *first = space + (start - space) / PAGE * PAGE;
  Block block = blocks[(first - space) / PAGE];
  for (unsigned char *byte = first; byte < first + block.pages; byte++) {
    if (*byte != FILLED && (byte < start || byte >= start + block.size)) {
      fputs("written outside of a buffer\n", stderr);
      abort();
    }
  }
  madvise(first, block.pages, MADV_DONTNEED);
  mprotect(first, block.pages, PROT_NONE);
}
