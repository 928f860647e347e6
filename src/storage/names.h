// The rules for object names (store.h), in one place for every store.
#pragma once

#include <string_view>

#include "util/result.h"

namespace lifeboat::storage {

inline constexpr size_t kLongestName = 1000;
inline constexpr size_t kLongestElement = 255;  // NAME_MAX of Linux file systems

// `failed` unless `name` is one that an object may have. Nothing that passes can leave a directory it is
// joined to.
Status check_name(std::string_view name);
// `failed` unless `prefix` is the beginning of such a name; empty is.
Status check_prefix(std::string_view prefix);
// `failed` unless `prefix` is such a beginning that ends in '/', or empty: what list_dirs() takes.
Status check_directory_prefix(std::string_view prefix);
// One '/'-separated element of a name.
bool valid_element(std::string_view element);

}  // namespace lifeboat::storage
