// A GPU that is this processor: enough of libcuda.so.1 to load code and launch it.
//
// A "module" is a shared library of the same CUDA C that NVRTC compiles, compiled for this processor.
// A thread of a block is a fiber. Fibers run in turn, from one barrier or shuffle to the next, so that
// what a thread reads of another is there only where the code synchronizes.
#include <dlfcn.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>

struct Place { unsigned x, y, z; };

namespace {

enum State { READY, AT_BARRIER, AT_SHUFFLE, DONE };

struct Fiber {
  ucontext_t first;
  jmp_buf where;
  State state;
  bool begun;
  Place thread;
};

constexpr size_t STACK = 256 << 10;
constexpr int WARP = 32;

constexpr size_t MOST_THREADS = 1024;
Fiber fibers[MOST_THREADS];
char *stacks[MOST_THREADS];
size_t fiber_count;
jmp_buf scheduler;
ucontext_t scheduler_context;
size_t current;
void (*body)(void **);
void **body_arguments;
Place *thread_index;
uint64_t exchanged[1024];
const char *failure;

void fiber_main() {
  body(body_arguments);
  fibers[current].state = DONE;
  _longjmp(scheduler, 1);
}

void wait_as(State state) {
  Fiber &own = fibers[current];
  own.state = state;
  if (!_setjmp(own.where)) _longjmp(scheduler, 1);
  *thread_index = own.thread;
}

void resume(size_t index) {
  current = index;
  Fiber &fiber = fibers[index];
  *thread_index = fiber.thread;
  if (_setjmp(scheduler)) return;
  if (fiber.begun) _longjmp(fiber.where, 1);
  fiber.begun = true;
  setcontext(&fiber.first);
}

void run_block(Place size) {
  size_t count = fiber_count = (size_t)size.x * size.y * size.z;
  for (size_t i = 0; i < count; ++i) {
    Fiber &fiber = fibers[i];
    if (!stacks[i]) stacks[i] = (char *)malloc(STACK);
    fiber.state = READY;
    fiber.begun = false;
    fiber.thread = {(unsigned)(i % size.x), (unsigned)(i / size.x % size.y),
                    (unsigned)(i / size.x / size.y)};
    getcontext(&fiber.first);
    fiber.first.uc_stack.ss_sp = stacks[i];
    fiber.first.uc_stack.ss_size = STACK;
    fiber.first.uc_link = nullptr;
    makecontext(&fiber.first, fiber_main, 0);
  }
  for (size_t i = 0; i < count; ++i) resume(i);
  for (;;) {
    size_t at_barrier = 0, at_shuffle = 0, done = 0;
    for (size_t i = 0; i < count; ++i) {
      at_barrier += fibers[i].state == AT_BARRIER;
      at_shuffle += fibers[i].state == AT_SHUFFLE;
      done += fibers[i].state == DONE;
    }
    if (done == count) return;
    if (!at_shuffle && done) {
      failure = "some threads of a block ended where others wait";
      return;
    }
    State next = at_shuffle ? AT_SHUFFLE : AT_BARRIER;
    for (size_t i = 0; i < count; ++i)
      if (fibers[i].state == next) resume(i);
  }
}

struct Kernel {
  void (*entry)(void **);
  Place *thread_index, *block_index;
};

int setting(const char *name, int otherwise) {
  const char *value = getenv(name);
  return value ? atoi(value) : otherwise;
}

size_t page() { return (size_t)sysconf(_SC_PAGESIZE); }

int allocations;

}  // namespace

extern "C" {

void emulated_barrier() { wait_as(AT_BARRIER); }

uint64_t emulated_shuffle(uint64_t value, int delta, int width) {
  size_t own = current;
  exchanged[own] = value;
  wait_as(AT_SHUFFLE);
  int lane = (int)(own % WARP), source = lane + delta;
  bool inside = source >= lane / width * width && source < (lane / width + 1) * width;
  size_t from = own - lane + source;
  uint64_t result = inside && from < fiber_count ? exchanged[from] : value;
  wait_as(AT_SHUFFLE);
  return result;
}

unsigned emulated_lane() { return (unsigned)(current % WARP); }

int cuInit(unsigned) { return setting("EMULATED_INIT", 0); }
int cuGetErrorString(int status, const char **text) {
  *text = status == 2 ? "out of memory" : failure ? failure : "emulated failure";
  return 0;
}
int cuDeviceGetCount(int *count) { return *count = setting("EMULATED_DEVICES", 1), 0; }
int cuDeviceGet(int *device, int index) { return *device = index, 0; }
int cuDeviceGetName(char *name, int size, int) {
  return snprintf(name, (size_t)size, "Emulated GPU"), 0;
}
int cuDeviceGetAttribute(int *value, int attribute, int) {
  int capability = setting("EMULATED_CAPABILITY", 80);
  *value = attribute == 75 ? capability / 10 : attribute == 76 ? capability % 10 : 0;
  return 0;
}
int cuDevicePrimaryCtxRetain(void **context, int) { return *context = &failure, 0; }
int cuDevicePrimaryCtxRelease_v2(int) { return 0; }
int cuCtxSetCurrent(void *) { return 0; }
int cuMemGetInfo_v2(size_t *free_bytes, size_t *total) {
  return *free_bytes = *total = (size_t)setting("EMULATED_MEMORY", 1 << 30), 0;
}

// What is allocated ends where a page ends that nobody may touch, and holds no number at first.
int cuMemAlloc_v2(uint64_t *address, size_t size) {
  size_t whole = (size + page() - 1) / page() * page();
  char *base = (char *)mmap(nullptr, whole + page(), PROT_READ | PROT_WRITE,
                            MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (base == MAP_FAILED) return 2;
  memset(base, 0xff, whole);
  mprotect(base + whole, page(), PROT_NONE);
  *address = (uint64_t)(base + (whole - size) / 256 * 256);
  ++allocations;
  return 0;
}
int cuMemFree_v2(uint64_t) { return --allocations, 0; }
int emulated_allocations() { return allocations; }
int cuMemcpyHtoD_v2(uint64_t to, const void *from, size_t size) {
  return memcpy((void *)to, from, size), 0;
}
int cuMemcpyDtoH_v2(void *to, uint64_t from, size_t size) {
  if (failure) return 700;
  return memcpy(to, (void *)from, size), 0;
}

// The image is the path of a library: dlopen takes no memory.
int cuModuleLoadData(void **module, const void *image) {
  void *handle = dlopen((const char *)image, RTLD_NOW | RTLD_LOCAL);
  if (!handle) return fprintf(stderr, "%s\n", dlerror()), 200;
  return *module = handle, 0;
}
int cuModuleUnload(void *module) { return dlclose(module), 0; }
int cuModuleGetFunction(void **function, void *module, const char *name) {
  char wrapper[512];
  snprintf(wrapper, sizeof wrapper, "emulated_%s", name);
  void *entry = dlsym(module, wrapper);
  if (!entry) return 500;
  Kernel *kernel = (Kernel *)malloc(sizeof(Kernel));
  *kernel = {(void (*)(void **))entry, (Place *)dlsym(module, "threadIdx"),
             (Place *)dlsym(module, "blockIdx")};
  *function = kernel;
  return 0;
}
int cuFuncSetAttribute(void *, int, int) { return 0; }
int cuLaunchKernel(void *function, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by,
                   unsigned bz, unsigned, void *, void **arguments, void **) {
  Kernel &kernel = *(Kernel *)function;
  if ((uint64_t)bx * by * bz > 1024 || gy > 65535 || gz > 65535) return 1;
  body = kernel.entry;
  body_arguments = arguments;
  thread_index = kernel.thread_index;
  for (unsigned z = 0; z < gz && !failure; ++z)
    for (unsigned y = 0; y < gy && !failure; ++y)
      for (unsigned x = 0; x < gx && !failure; ++x) {
        *kernel.block_index = {x, y, z};
        run_block({bx, by, bz});
      }
  return 0;
}

}  // extern "C"
