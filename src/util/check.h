// CHECK is for our own bugs, never for bytes that were read: it ends the process with file and line.
#pragma once

#include <cstdio>
#include <cstdlib>

#define CHECK(condition)                                                                             \
  do {                                                                                               \
    if (!(condition)) {                                                                              \
      std::fprintf(stderr, "lifeboat: internal error: %s:%d: %s\n", __FILE__, __LINE__, #condition); \
      std::abort();                                                                                  \
    }                                                                                                \
  } while (0)
