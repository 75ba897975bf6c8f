/*
 * no_s3.c: for the portable program (Portable.cmake): what HDF5's driver for files in Amazon's S3 takes from curl and OpenSSL, so
 * that they and the thirty libraries behind them stay out. segx opens no such files; whoever does gets HDF5's error: every call
 * here fails.
 */
#include <stddef.h>

#define FAILS(result, name, value)                                       \
    __attribute__((visibility("hidden"))) result name(void);             \
    result name(void) { return value; }

FAILS(int, curl_global_init, 2)          /* CURLE_FAILED_INIT */
FAILS(void *, curl_easy_init, NULL)
FAILS(int, curl_easy_setopt, 2)
FAILS(int, curl_easy_perform, 2)
FAILS(void *, curl_slist_append, NULL)
FAILS(void *, EVP_sha256, NULL)
FAILS(void *, HMAC, NULL)
FAILS(void *, SHA256, NULL)

__attribute__((visibility("hidden"))) void curl_global_cleanup(void);
__attribute__((visibility("hidden"))) void curl_easy_cleanup(void *curl);
__attribute__((visibility("hidden"))) void curl_slist_free_all(void *list);
void curl_global_cleanup(void) {}
void curl_easy_cleanup(void *curl) { (void)curl; }
void curl_slist_free_all(void *list) { (void)list; }
