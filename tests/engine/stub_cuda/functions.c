/* The functions of CUDA's stub libraries that do more than return 0. "Device memory" is host memory, nothing is computed.

   What the environment says:
   STUB_CUDA_VERSION     the newest CUDA that the driver knows, e.g. 12040 (default 13000); older than 13000, a session
                         does not start, as with a real driver
   STUB_CAPABILITY       compute capability times ten, e.g. 70 (default 75)
   STUB_LOG              a file that gets a line for each allocation: "+ADDRESS BYTES", and "-ADDRESS"
*/
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TOO_OLD 35 /* cudaErrorInsufficientDriver */

static int setting(const char *name, int otherwise) {
  const char *text = getenv(name);
  return text ? atoi(text) : otherwise;
}
static int version(void) { return setting("STUB_CUDA_VERSION", 13000); }
static long unless_too_old(void) { return version() < 13000 ? TOO_OLD : 0; }

static void note(char sign, void *address, size_t bytes) {
  const char *name = getenv("STUB_LOG");
  FILE *file = name ? fopen(name, "a") : NULL;
  if (!file) return;
  if (sign == '+') fprintf(file, "+%p %zu\n", address, bytes);
  else fprintf(file, "-%p\n", address);
  fclose(file);
}

/* ---- the driver: what attention_dmfnet.model.cuda_driver calls ---- */
int cuInit(unsigned flags) { return 0; }
int cuDeviceGetCount(int *count) { *count = 1; return 0; }
int cuDeviceGet(int *device, int ordinal) { *device = 0; return 0; }
int cuDevicePrimaryCtxRetain(void **context, int device) { *context = (void *)0x10; return 0; }
int cuCtxSetCurrent(void *context) { return 0; }
int cuDeviceGetName(char *name, int length, int device) { strncpy(name, "stub GPU", length); return 0; }
int cuDeviceTotalMem_v2(size_t *bytes, int device) { *bytes = 16ul << 30; return 0; }
int cuDriverGetVersion(int *number) { *number = version(); return 0; }
int cuGetErrorName(int error, const char **text) { *text = "CUDA_ERROR_OF_A_STUB"; return 0; }
int cuDeviceGetAttribute(int *value, int attribute, int device) {
  int capability = setting("STUB_CAPABILITY", 75);
  *value = attribute == 75 ? capability / 10 : attribute == 76 ? capability % 10 : 0;
  return 0;
}

/* ---- the runtime ---- */
long cudaGetDeviceCount(int *count) { *count = 1; return unless_too_old(); }
long cudaSetDevice(int device) { return unless_too_old(); }
long cudaGetDevice(int *device) { *device = 0; return unless_too_old(); }
long cudaMalloc(void **address, size_t bytes) { *address = calloc(bytes ? bytes : 1, 1); note('+', *address, bytes); return 0; }
long cudaFree(void *address) { note('-', address, 0); free(address); return 0; }
long cudaHostAlloc(void **address, size_t bytes, unsigned flags) { *address = malloc(bytes ? bytes : 1); return 0; }
long cudaMallocHost(void **address, size_t bytes) { *address = malloc(bytes ? bytes : 1); return 0; }
long cudaFreeHost(void *address) { free(address); return 0; }
long cudaMemcpy(void *to, const void *from, size_t bytes, int kind) { memcpy(to, from, bytes); return 0; }
long cudaMemcpyAsync(void *to, const void *from, size_t bytes, int kind, void *stream) { memcpy(to, from, bytes); return 0; }
long cudaMemset(void *at, int value, size_t bytes) { memset(at, value, bytes); return 0; }
long cudaMemsetAsync(void *at, int value, size_t bytes, void *stream) { memset(at, value, bytes); return 0; }
long cudaMemGetInfo(size_t *left, size_t *all) { *left = 8ul << 30; *all = 16ul << 30; return 0; }
long cudaStreamCreate(void **stream) { *stream = (void *)0x20; return 0; }
long cudaStreamCreateWithFlags(void **stream, unsigned flags) { *stream = (void *)0x20; return 0; }
long cudaEventCreate(void **event) { *event = (void *)0x30; return 0; }
long cudaEventCreateWithFlags(void **event, unsigned flags) { *event = (void *)0x30; return 0; }
long cudaDriverGetVersion(int *number) { *number = version(); return 0; }
long cudaRuntimeGetVersion(int *number) { *number = 13000; return 0; }
const char *cudaGetErrorName(int error) { return error == TOO_OLD ? "cudaErrorInsufficientDriver" : "cudaErrorOfAStub"; }
const char *cudaGetErrorString(int error) {
  return error == TOO_OLD ? "CUDA driver version is insufficient for CUDA runtime version" : "an error of a stub";
}
long cudaDeviceGetAttribute(int *value, int attribute, int device) {
  int capability = setting("STUB_CAPABILITY", 75);
  *value = attribute == 75 ? capability / 10 : attribute == 76 ? capability % 10 : attribute == 16 ? 80 : 1024;
  return 0;
}
/* cudaDeviceProp of CUDA 13: 1008 bytes, the name at the start and the capability at 360 */
long cudaGetDeviceProperties(char *properties, int device) {
  int capability = setting("STUB_CAPABILITY", 75);
  memset(properties, 0, 1008);
  strcpy(properties, "stub GPU");
  *(int *)(properties + 360) = capability / 10;
  *(int *)(properties + 364) = capability % 10;
  return unless_too_old();
}
void **__cudaRegisterFatBinary(void *binary) { static void *handle; return &handle; }

/* ---- handles of the libraries ---- */
long cublasCreate_v2(void **handle) { *handle = (void *)0x40; return 0; }
long cublasLtCreate(void **handle) { *handle = (void *)0x50; return 0; }
long cudnnCreate(void **handle) { *handle = (void *)0x60; return 0; }
size_t cudnnGetVersion(void) { return 92000; }
size_t cudnnGetCudartVersion(void) { return 13000; }
const char *cudnnGetErrorString(int error) { return "an error of a stub"; }
long curandCreateGenerator(void **generator, int kind) { *generator = (void *)0x70; return 0; }
/* cuDNN's graphs: a question for descriptors is answered with the one that was handed in, a number with 0 */
long cudnnBackendCreateDescriptor(int kind, void **descriptor) { *descriptor = (void *)0x80; return 0; }
long cudnnBackendGetAttribute(void *descriptor, int name, int type, int64_t asked, int64_t *count, void *values) {
  enum { INT64 = 3, DESCRIPTOR = 15, INT32 = 23, KNOBS = 302 };
  if (type == INT64 && asked == 1 && values) *(int64_t *)values = 0;
  if (type == INT32 && asked == 1 && values) *(int32_t *)values = 0;
  if (count) *count = (type == INT64 || type == INT32 || type == DESCRIPTOR) && name != KNOBS;
  return 0;
}
