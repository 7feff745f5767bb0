/* A block is the smallest hole that is large enough, else the beginning of the tail. The same
 * requests in the same order give the same places, so that a planned execution tells exactly what a
 * real one takes. */
#define _GNU_SOURCE
#include "arena.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define ALIGNMENT 64LL
#define PAGE 4096LL
#define HUGE_PAGE (2LL << 20)
#define SMALLEST_CHUNK (1LL << 20) /* where an execution takes more than was planned */
#define FILLED 0xCB
#define LARGEST_GUARDED (1LL << 30) /* bytes: they are filled, which takes time */
#define MOST (1LL << 46) /* bytes: more than any machine has */

static int64_t rounded(int64_t bytes, int64_t to) { return (bytes + to - 1) / to * to; }

static int64_t block_size(int64_t bytes) { return rounded(bytes ? bytes : 1, ALIGNMENT); }

static int has_room(void **array, int32_t *room, int32_t count, size_t size) {
  if (count < *room) return 1;
  int32_t more = *room ? 2 * *room : 32;
  void *larger = realloc(*array, size * (size_t)more);
  if (!larger) return 0;
  *array = larger;
  *room = more;
  return 1;
}

/* Without MAP_NORESERVE: the system refuses what it cannot have. */
static char *map(int64_t bytes) {
  int flags = MAP_PRIVATE | MAP_ANONYMOUS;
  char *start = mmap(NULL, (size_t)bytes, PROT_READ | PROT_WRITE, flags, -1, 0);
  return start == MAP_FAILED ? NULL : start;
}

/* Maps a chunk that begins at a huge page. */
static char *map_huge(int64_t bytes) {
  char *start = map(bytes + HUGE_PAGE);
  if (!start) return NULL;
  char *first = (char *)(((uintptr_t)start + HUGE_PAGE - 1) / HUGE_PAGE * HUGE_PAGE);
  if (first > start) munmap(start, (size_t)(first - start));
  char *end = start + bytes + HUGE_PAGE;
  if (end > first + bytes) munmap(first + bytes, (size_t)(end - first - bytes));
  madvise(first, (size_t)bytes, MADV_HUGEPAGE);
  return first;
}

static int add_chunk(Arena *arena, int64_t bytes) {
  int huge = arena->flags & ARENA_HUGE_PAGES;
  bytes = rounded(bytes, huge ? HUGE_PAGE : PAGE);
  if (arena->limit && arena->mapped + bytes > rounded(arena->limit, huge ? HUGE_PAGE : PAGE)) {
    return ARENA_BEYOND_LIMIT;
  }
  if (!has_room((void **)&arena->chunks, &arena->chunk_room, arena->chunk_count, sizeof(Stretch))) {
    return ARENA_NO_MEMORY;
  }
  char *start = huge ? map_huge(bytes) : map(bytes);
  if (!start) return ARENA_NO_MEMORY;
  arena->chunks[arena->chunk_count++] = (Stretch){start, bytes};
  arena->mapped += bytes;
  arena->tail = 0;
  return ARENA_DONE;
}

void ingot_arena_release(Arena *arena) {
  for (int32_t i = 0; i < arena->chunk_count; i++) {
    munmap(arena->chunks[i].start, (size_t)arena->chunks[i].bytes);
  }
  free(arena->chunks);
  free(arena->holes);
  int64_t limit = arena->limit;
  int32_t flags = arena->flags;
  memset(arena, 0, sizeof *arena);
  arena->limit = limit;
  arena->flags = flags;
}

int ingot_arena_reserve(Arena *arena, int64_t bytes) {
  if (arena->chunk_count == 1 && arena->chunks[0].bytes >= bytes) return ARENA_DONE;
  if (arena->chunk_count == 0 && bytes == 0) return ARENA_DONE;
  for (int32_t i = 0; i < arena->chunk_count; i++) {
    munmap(arena->chunks[i].start, (size_t)arena->chunks[i].bytes);
  }
  arena->chunk_count = 0;
  arena->mapped = 0;
  arena->hole_count = 0;
  return add_chunk(arena, bytes ? bytes : 1);
}

void ingot_arena_begin(Arena *arena, int planned) {
  arena->hole_count = 0;
  arena->tail = 0;
  arena->highest = 0;
  arena->planned = planned;
}

static void remove_hole(Arena *arena, int32_t at) {
  arena->hole_count--;
  memmove(&arena->holes[at], &arena->holes[at + 1],
          sizeof(Stretch) * (size_t)(arena->hole_count - at));
}

static int add_hole(Arena *arena, char *start, int64_t bytes) {
  int32_t at = 0;
  while (at < arena->hole_count && arena->holes[at].start < start) at++;
  Stretch *before = at ? &arena->holes[at - 1] : NULL;
  Stretch *after = at < arena->hole_count ? &arena->holes[at] : NULL;
  int joins_before = before && before->start + before->bytes == start;
  int joins_after = after && start + bytes == after->start;
  if (joins_before) {
    before->bytes += bytes;
    if (joins_after) {
      before->bytes += after->bytes;
      remove_hole(arena, at);
    }
  } else if (joins_after) {
    after->start = start;
    after->bytes += bytes;
  } else {
    if (!has_room((void **)&arena->holes, &arena->hole_room, arena->hole_count, sizeof(Stretch))) {
      return ARENA_NO_MEMORY;
    }
    memmove(&arena->holes[at + 1], &arena->holes[at],
            sizeof(Stretch) * (size_t)(arena->hole_count - at));
    arena->holes[at] = (Stretch){start, bytes};
    arena->hole_count++;
  }
  return ARENA_DONE;
}

static int take_hole(Arena *arena, int64_t bytes, char **out) {
  int32_t best = -1;
  for (int32_t i = 0; i < arena->hole_count; i++) {
    if (arena->holes[i].bytes < bytes) continue;
    if (best < 0 || arena->holes[i].bytes < arena->holes[best].bytes) best = i;
  }
  if (best < 0) return 0;
  *out = arena->holes[best].start;
  arena->holes[best].start += bytes;
  arena->holes[best].bytes -= bytes;
  if (!arena->holes[best].bytes) remove_hole(arena, best);
  return 1;
}

/* A block of its own between inaccessible pages, at whose end it ends. */
static int take_guarded(int64_t bytes, char **out) {
  int64_t body = rounded(bytes, PAGE);
  char *start = bytes > LARGEST_GUARDED ? NULL : map(body + 2 * PAGE);
  if (!start) return ARENA_NO_MEMORY;
  mprotect(start, PAGE, PROT_NONE);
  mprotect(start + PAGE + body, PAGE, PROT_NONE);
  memset(start + PAGE, FILLED, (size_t)body);
  *out = start + PAGE + body - bytes;
  return ARENA_DONE;
}

static int give_guarded(char *start, int64_t bytes, int64_t asked) {
  int64_t body = rounded(bytes, PAGE);
  char *first = start + bytes - body;
  int written = 0;
  for (char *byte = first; byte < start; byte++) written |= *byte != (char)FILLED;
  for (char *byte = start + asked; byte < start + bytes; byte++) written |= *byte != (char)FILLED;
  munmap(first - PAGE, (size_t)(body + 2 * PAGE));
  return written;
}

int ingot_arena_take(Arena *arena, int64_t bytes, char **out) {
  if (bytes < 0 || bytes > MOST) return ARENA_NO_MEMORY;
  int64_t size = block_size(bytes);
  if (!arena->planned && arena->flags & ARENA_GUARDED) return take_guarded(size, out);
  if (take_hole(arena, size, out)) return ARENA_DONE;
  if (arena->planned) {
    /* Places count from an address that is none. */
    *out = (char *)ALIGNMENT + arena->tail;
    arena->tail += size;
    if (arena->tail > arena->highest) arena->highest = arena->tail;
    return arena->tail > MOST ? ARENA_NO_MEMORY : ARENA_DONE;
  }
  Stretch *last = arena->chunk_count ? &arena->chunks[arena->chunk_count - 1] : NULL;
  if (!last || last->bytes - arena->tail < size) {
    if (last && last->bytes > arena->tail) {
      int failed = add_hole(arena, last->start + arena->tail, last->bytes - arena->tail);
      if (failed) return failed;
      arena->tail = last->bytes;
    }
    int failed = add_chunk(arena, size > SMALLEST_CHUNK ? size : SMALLEST_CHUNK);
    if (failed) return failed;
    last = &arena->chunks[arena->chunk_count - 1];
  }
  *out = last->start + arena->tail;
  arena->tail += size;
  int64_t used = arena->chunk_count == 1 ? arena->tail : arena->mapped;
  if (used > arena->highest) arena->highest = used;
  return ARENA_DONE;
}

int ingot_arena_give(Arena *arena, char *start, int64_t bytes) {
  int64_t size = block_size(bytes);
  if (arena->flags & ARENA_GUARDED && !arena->planned) return give_guarded(start, size, bytes);
  Stretch *last = arena->chunk_count ? &arena->chunks[arena->chunk_count - 1] : NULL;
  char *base = arena->planned ? (char *)ALIGNMENT : last->start;
  if (start + size != base + arena->tail) {
    add_hole(arena, start, size); /* without memory for the list it stays taken */
    return 0;
  }
  arena->tail -= size;
  for (int32_t i = 0; i < arena->hole_count; i++) {
    Stretch *hole = &arena->holes[i];
    if (hole->start + hole->bytes == base + arena->tail && hole->start >= base) {
      arena->tail -= hole->bytes;
      remove_hole(arena, i);
      break;
    }
  }
  return 0;
}
