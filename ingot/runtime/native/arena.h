/* Memory of an execution: one stretch, from which blocks are taken and to which they return. */
#ifndef INGOT_ARENA_H
#define INGOT_ARENA_H

#include <stdint.h>

enum { ARENA_HUGE_PAGES = 1, ARENA_GUARDED = 2 };

typedef struct {
  char *start;
  int64_t bytes;
} Stretch;

typedef struct {
  Stretch *holes; /* sorted by address, no two of them adjacent */
  int32_t hole_count, hole_room;
  Stretch *chunks; /* mapped memory; the last one has the tail */
  int32_t chunk_count, chunk_room;
  int64_t tail;    /* offset in the last chunk from which on nothing is taken */
  int64_t highest; /* bytes that the blocks took at most, with the holes between them */
  int64_t mapped;
  int64_t limit;   /* bytes that may be mapped; none: 0 */
  int32_t flags;
  int32_t planned; /* no memory is mapped: sizes alone are computed */
} Arena;

enum { ARENA_DONE = 0, ARENA_NO_MEMORY = -1, ARENA_BEYOND_LIMIT = -2 };

/* Begins an execution: all blocks are back. planned: whether none is really mapped. */
void ingot_arena_begin(Arena *arena, int planned);

/* Has at least so many bytes in one chunk; only between executions. */
int ingot_arena_reserve(Arena *arena, int64_t bytes);

/* Takes a block, aligned to 64 bytes. */
int ingot_arena_take(Arena *arena, int64_t bytes, char **out);

/* Gives a block back. Returns whether a guarded one was written around. */
int ingot_arena_give(Arena *arena, char *start, int64_t bytes);

/* Unmaps everything. */
void ingot_arena_release(Arena *arena);

#endif
