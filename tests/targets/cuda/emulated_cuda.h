// What CUDA C takes for granted, for a C++ compiler and the GPU of emulated_gpu.cpp.
#include <math.h>
#include <stdint.h>
#include <string.h>

struct Place { unsigned x, y, z; };
extern "C" {
Place threadIdx, blockIdx;
void emulated_barrier();
uint64_t emulated_shuffle(uint64_t value, int delta, int width);
}

#define __global__
#define __device__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __syncthreads() emulated_barrier()
#define __activemask() 0xffffffffu
#define min(a, b) ((a) < (b) ? (a) : (b))
#define max(a, b) ((a) > (b) ? (a) : (b))

template <class T> T shuffled(T value, int delta, int width) {
  uint64_t bits = 0;
  memcpy(&bits, &value, sizeof value);
  bits = emulated_shuffle(bits, delta, width);
  memcpy(&value, &bits, sizeof value);
  return value;
}
#define __shfl_down_sync(mask, value, delta, width) shuffled(value, delta, width)
#define __shfl_up_sync(mask, value, delta, width) shuffled(value, -(int)(delta), width)
#define __shfl_sync(mask, value, lane, width) \
  shuffled(value, (int)(lane) - (int)(emulated_lane() % (width)), width)
extern "C" unsigned emulated_lane();

#define VECTORS(T, U)                                                                        \
  struct T##1 { U x; };                                                                      \
  struct alignas(2 * sizeof(U)) T##2 { U x, y; };                                            \
  struct T##3 { U x, y, z; };                                                                \
  struct alignas(4 * sizeof(U) > 16 ? 16 : 4 * sizeof(U)) T##4 { U x, y, z, w; };            \
  inline T##2 make_##T##2(U x, U y) { return {x, y}; }                                       \
  inline T##3 make_##T##3(U x, U y, U z) { return {x, y, z}; }                               \
  inline T##4 make_##T##4(U x, U y, U z, U w) { return {x, y, z, w}; }
VECTORS(float, float)
VECTORS(double, double)
VECTORS(int, int)
typedef unsigned int uint;
VECTORS(uint, unsigned)
VECTORS(char, signed char)
VECTORS(uchar, unsigned char)
VECTORS(short, short)
VECTORS(ushort, unsigned short)
VECTORS(longlong, long long)

#define uchar unsigned char
#define __expf expf
#define __logf logf
#define __sinf sinf
#define __cosf cosf
#define __powf powf
inline float rsqrtf(float x) { return 1.0f / sqrtf(x); }
inline float __int_as_float(int x) { float y; memcpy(&y, &x, 4); return y; }
inline int __float_as_int(float x) { int y; memcpy(&y, &x, 4); return y; }
#ifdef INFINITY
#define CUDART_INF_F INFINITY
#endif
