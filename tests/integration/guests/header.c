/* A proxy-wasm guest in C, without an SDK: ABI 0.2.1 by its imports and exports (proxy-wasm/spec).
 *
 * Writes its configuration into a response header and a word of the environment into another, answers 418 under
 * /teapot, and says on standard error what it does.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define IMPORT(name) __attribute__((import_module("env"), import_name(#name)))
#define EXPORT(name) __attribute__((export_name(#name)))

IMPORT(proxy_get_buffer_bytes)
int proxy_get_buffer_bytes(int type, int start, int max, char **data, size_t *size);
IMPORT(proxy_get_header_map_value)
int proxy_get_header_map_value(int map, const char *key, size_t key_size, char **value, size_t *size);
IMPORT(proxy_replace_header_map_value)
int proxy_replace_header_map_value(int map, const char *key, size_t key_size, const char *value, size_t size);
IMPORT(proxy_send_local_response)
int proxy_send_local_response(int status, const char *details, size_t details_size, const char *body,
                              size_t body_size, const char *headers, size_t headers_size, int grpc_status);

enum { REQUEST_HEADERS = 0, RESPONSE_HEADERS = 2, PLUGIN_CONFIGURATION = 7, CONTINUE = 0, PAUSE = 1 };

static char *configuration;
static size_t configuration_size;

EXPORT(proxy_abi_version_0_2_1) void proxy_abi_version_0_2_1(void) {}

EXPORT(proxy_on_memory_allocate) void *proxy_on_memory_allocate(size_t size) { return malloc(size); }

EXPORT(proxy_on_context_create) void proxy_on_context_create(int context, int parent) {
  (void)context;
  (void)parent;
}

EXPORT(proxy_on_configure) int proxy_on_configure(int context, int size) {
  (void)context;
  if (proxy_get_buffer_bytes(PLUGIN_CONFIGURATION, 0, size, &configuration, &configuration_size) != 0) return 0;
  fprintf(stderr, "configured with %d bytes\n", size);
  return size > 0;
}

static int is_teapot(const char *path, size_t size) { return size >= 7 && memcmp(path, "/teapot", 7) == 0; }

EXPORT(proxy_on_request_headers) int proxy_on_request_headers(int context, int count, int end) {
  char *path;
  size_t size;
  int teapot;
  (void)context;
  (void)count;
  (void)end;
  if (proxy_get_header_map_value(REQUEST_HEADERS, ":path", 5, &path, &size) != 0) return CONTINUE;
  teapot = is_teapot(path, size);
  free(path);
  if (!teapot) return CONTINUE;
  proxy_send_local_response(418, "teapot", 6, "short and stout\n", 16, NULL, 0, -1);
  return PAUSE;
}

EXPORT(proxy_on_response_headers) int proxy_on_response_headers(int context, int count, int end) {
  const char *word = getenv("WORD");
  (void)context;
  (void)count;
  (void)end;
  proxy_replace_header_map_value(RESPONSE_HEADERS, "x-guest", 7, configuration, configuration_size);
  if (word != NULL) proxy_replace_header_map_value(RESPONSE_HEADERS, "x-word", 6, word, strlen(word));
  return CONTINUE;
}
